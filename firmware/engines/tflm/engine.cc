// The engine of TFLite Micro: its interpreter over the model that hwsearch/device/tflm.py wrote.
#include "engine.h"

#include "model.h"
#include "tensorflow/lite/micro/micro_interpreter.h"
#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"
#include "tensorflow/lite/schema/schema_generated.h"

namespace {

constexpr int32_t kSchemaVersion = 1;
constexpr int32_t kAddOps = 2;
constexpr int32_t kAllocateTensors = 3;
constexpr int32_t kInvoke = 4;

using Resolver = tflite::MicroMutableOpResolver<MODEL_OPS>;

alignas(16) uint8_t arena[MODEL_ARENA_BYTES];
tflite::MicroInterpreter *interpreter;

TfLiteStatus add_ops(Resolver &resolver)
{
#define ADD(op)                         \
    if (resolver.op() != kTfLiteOk) {   \
        return kTfLiteError;            \
    }
    MODEL_ADD_OPS
#undef ADD
    return kTfLiteOk;
}

} // namespace

const char *engine_name(void)
{
    return "tflm";
}

uint32_t engine_digest(void)
{
    return MODEL_DIGEST;
}

int32_t engine_init(void)
{
    const tflite::Model *model = tflite::GetModel(model_tflite);
    if (model->version() != TFLITE_SCHEMA_VERSION) {
        return kSchemaVersion;
    }
    static Resolver resolver;
    if (interpreter == nullptr && add_ops(resolver) != kTfLiteOk) {
        return kAddOps;
    }
    static tflite::MicroInterpreter made(model, resolver, arena, sizeof arena);
    interpreter = &made;
    return interpreter->AllocateTensors() == kTfLiteOk ? 0 : kAllocateTensors;
}

// Before a successful engine_init there are no tensors; the firmware asks only for sizes then.
uint32_t engine_inputs(void)
{
    return interpreter == nullptr ? 0u : static_cast<uint32_t>(interpreter->inputs_size());
}

uint32_t engine_outputs(void)
{
    return interpreter == nullptr ? 0u : static_cast<uint32_t>(interpreter->outputs_size());
}

uint32_t engine_input_bytes(uint32_t index)
{
    return static_cast<uint32_t>(interpreter->input(index)->bytes);
}

uint32_t engine_output_bytes(uint32_t index)
{
    return static_cast<uint32_t>(interpreter->output(index)->bytes);
}

uint8_t *engine_input(uint32_t index)
{
    return interpreter->input(index)->data.uint8;
}

const uint8_t *engine_output(uint32_t index)
{
    return interpreter->output(index)->data.uint8;
}

int32_t engine_invoke(void)
{
    return interpreter->Invoke() == kTfLiteOk ? 0 : kInvoke;
}

uint32_t engine_arena_bytes(void)
{
    return interpreter == nullptr ? 0u : static_cast<uint32_t>(interpreter->arena_used_bytes());
}

uint32_t engine_layers(void)
{
    return 0;
}
