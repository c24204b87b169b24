/* The engine of generated networks: model.h of the model's folder. */
#include "engine.h"

#include "model.h"

#if MODEL_INPUTS > 4 || MODEL_OUTPUTS > 4
#error "more than 4 inputs or outputs: extend INPUT_BYTES and OUTPUT_BYTES"
#endif

static const uint32_t INPUT_BYTES[] = {
    MODEL_INPUT_0_BYTES,
#if MODEL_INPUTS > 1
    MODEL_INPUT_1_BYTES,
#endif
#if MODEL_INPUTS > 2
    MODEL_INPUT_2_BYTES,
#endif
#if MODEL_INPUTS > 3
    MODEL_INPUT_3_BYTES,
#endif
};

static const uint32_t OUTPUT_BYTES[] = {
    MODEL_OUTPUT_0_BYTES,
#if MODEL_OUTPUTS > 1
    MODEL_OUTPUT_1_BYTES,
#endif
#if MODEL_OUTPUTS > 2
    MODEL_OUTPUT_2_BYTES,
#endif
#if MODEL_OUTPUTS > 3
    MODEL_OUTPUT_3_BYTES,
#endif
};

const char *engine_name(void)
{
    return "aot";
}

uint32_t engine_digest(void)
{
    return MODEL_DIGEST;
}

int32_t engine_init(void)
{
    return model_init();
}

uint32_t engine_inputs(void)
{
    return MODEL_INPUTS;
}

uint32_t engine_outputs(void)
{
    return MODEL_OUTPUTS;
}

uint32_t engine_input_bytes(uint32_t index)
{
    return INPUT_BYTES[index];
}

uint32_t engine_output_bytes(uint32_t index)
{
    return OUTPUT_BYTES[index];
}

uint8_t *engine_input(uint32_t index)
{
    return model_input((int)index);
}

const uint8_t *engine_output(uint32_t index)
{
    return model_output((int)index);
}

int32_t engine_invoke(void)
{
    return model_invoke();
}

uint32_t engine_arena_bytes(void)
{
    return MODEL_ARENA_BYTES;
}

uint32_t engine_layers(void)
{
#ifdef LAYER_TICKS
    return MODEL_LAYERS;
#else
    return 0;
#endif
}
