#include "tensorflow/lite/micro/micro_interpreter.h"

namespace {
struct Step { // its value is set by a constructor: the firmware must run those
    Step() : value(1) { __asm__ volatile("" ::: "memory"); }
    volatile uint8_t value;
} step;
} // namespace

TfLiteStatus tflite::MicroInterpreter::Invoke()
{
    for (size_t i = 0; i < tensor_.bytes; i++) {
        tensor_.data.uint8[i] = static_cast<uint8_t>(tensor_.data.uint8[i] + step.value);
    }
    return kTfLiteOk;
}
