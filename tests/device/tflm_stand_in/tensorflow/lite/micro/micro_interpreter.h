#ifndef MICRO_INTERPRETER_H
#define MICRO_INTERPRETER_H
#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"
#include "tensorflow/lite/schema/schema_generated.h"
struct TfLiteTensor {
    struct { uint8_t *uint8; } data;
    size_t bytes;
};
namespace tflite {
class MicroInterpreter {
  public:
    template <class R> MicroInterpreter(const Model *, const R &, uint8_t *arena, size_t size)
        : tensor_{{arena}, 600}, size_(size) {}
    TfLiteStatus AllocateTensors() { return size_ >= 600 ? kTfLiteOk : kTfLiteError; }
    size_t inputs_size() const { return 1; }
    size_t outputs_size() const { return 1; }
    TfLiteTensor *input(size_t) { return &tensor_; }
    TfLiteTensor *output(size_t) { return &tensor_; }
    size_t arena_used_bytes() const { return 600; }
    TfLiteStatus Invoke();
  private:
    TfLiteTensor tensor_;
    size_t size_;
};
} // namespace tflite
#endif
