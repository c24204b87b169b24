/* What a runtime gives the firmware. One engine is linked into an image, with one model. */
#ifndef ENGINE_H
#define ENGINE_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

const char *engine_name(void);

/* CRC-32 of the .tflite that it runs. */
uint32_t engine_digest(void);

/* Once at start; 0, or the engine's own error code. */
int32_t engine_init(void);

uint32_t engine_inputs(void);
uint32_t engine_outputs(void);
uint32_t engine_input_bytes(uint32_t index);
uint32_t engine_output_bytes(uint32_t index);

/* Valid from engine_init; an input may be overwritten by engine_invoke. */
uint8_t *engine_input(uint32_t index);
const uint8_t *engine_output(uint32_t index);

/* One inference; 0, or the engine's own error code. */
int32_t engine_invoke(void);

/* Bytes of activations, scratch and what else the runtime keeps in RAM. */
uint32_t engine_arena_bytes(void);

/* Layers that call command_layer; 0 when built without per-layer ticks. */
uint32_t engine_layers(void);

#ifdef __cplusplus
}
#endif

#endif
