#include "command.h"

#include "engine.h"
#include "port.h"
#include "wire.h"

#define LAYERS_MAX 256u
#define INPUTS_MAX 8u

static wire_frame request;
static wire_frame reply;

static struct {
    int32_t engine_error;     /* of engine_init */
    uint32_t answered;        /* CRC of the request that reply answers */
    uint32_t input_filled[INPUTS_MAX]; /* bytes of each input written since the last invoke */
    uint8_t has_reply;        /* whether answered counts */
    uint8_t has_output;
    uint8_t faulted;
    uint32_t stack_used; /* by the deepest invoke so far */
    uint32_t fault[FAULT_WORDS];
} state;

#ifdef LAYER_TICKS
static uint32_t layer_start;
static uint32_t layer_ticks[LAYERS_MAX];

void command_layer(uint32_t index)
{
    const uint32_t now = port_ticks();
    if (index > 0u && index <= LAYERS_MAX) {
        layer_ticks[index - 1u] = now - layer_start;
    }
    port_trigger(PORT_TRIGGER_LAYER, (index & 1u) ^ 1u);
    layer_start = port_ticks();
}
#endif

static uint8_t *payload(wire_frame *frame)
{
    return frame->bytes + HEADER_BYTES;
}

static void answer(uint32_t status, uint32_t payload_bytes)
{
    state.answered = wire_crc(&request);
    state.has_reply = 1;
    wire_send(&reply, payload_bytes, wire_sequence(&request), request.bytes[4], status,
              port_write);
}

static void answer_engine_error(int32_t error)
{
    wire_put_u32(payload(&reply), (uint32_t)error);
    answer(STATUS_ENGINE, 4);
}

static void answer_fault(void)
{
    for (uint32_t i = 0; i < FAULT_WORDS; i++) {
        wire_put_u32(payload(&reply) + 4u * i, state.fault[i]);
    }
    answer(STATUS_FAULT, 4u * FAULT_WORDS);
}

static uint8_t *put_string(uint8_t *at, const char *text)
{
    uint32_t i = 0;
    for (; text[i] != '\0' && i < 31u; i++) {
        at[i] = (uint8_t)text[i];
    }
    at[i] = 0;
    return at + i + 1u;
}

static void run_hello(void)
{
    uint8_t *at = payload(&reply);
    wire_put_u16(at, PROTOCOL_VERSION);
    wire_put_u16(at + 2, FIRMWARE_VERSION);
    wire_put_u32(at + 4, engine_digest());
    wire_put_u32(at + 8, port_ticks_hz());
    wire_put_u32(at + 12, port_clock_hz());
    wire_put_u16(at + 16, PAYLOAD_MAX_BYTES);
    wire_put_u16(at + 18, engine_layers());
    at[20] = (uint8_t)engine_inputs();
    at[21] = (uint8_t)engine_outputs();
    at += HELLO_BYTES;
    for (uint32_t i = 0; i < engine_inputs(); i++) {
        wire_put_u32(at, engine_input_bytes(i));
        at += 4;
    }
    for (uint32_t i = 0; i < engine_outputs(); i++) {
        wire_put_u32(at, engine_output_bytes(i));
        at += 4;
    }
    at = put_string(at, port_board());
    at = put_string(at, port_core());
    at = put_string(at, engine_name());
    answer(STATUS_OK, (uint32_t)(at - payload(&reply)));
}

/* Chunks come in order; one that was written may come again, one that skips bytes may not. */
static void run_input(uint32_t bytes)
{
    const uint8_t *from = payload(&request);
    if (bytes < CHUNK_BYTES) {
        answer(STATUS_ARGUMENT, 0);
        return;
    }
    const uint32_t index = from[0];
    const uint32_t offset = wire_u32(from + 1);
    const uint32_t count = bytes - CHUNK_BYTES;
    if (index >= engine_inputs() || offset > engine_input_bytes(index)
        || count > engine_input_bytes(index) - offset) {
        answer(STATUS_ARGUMENT, 0);
        return;
    }
    if (offset > state.input_filled[index]) {
        answer(STATUS_STATE, 0);
        return;
    }
    uint8_t *to = engine_input(index) + offset;
    for (uint32_t i = 0; i < count; i++) {
        to[i] = from[CHUNK_BYTES + i];
    }
    if (offset + count > state.input_filled[index]) {
        state.input_filled[index] = offset + count;
    }
    state.has_output = 0;
    answer(STATUS_OK, 0);
}

static int inputs_are_filled(void)
{
    for (uint32_t i = 0; i < engine_inputs(); i++) {
        if (state.input_filled[i] != engine_input_bytes(i)) {
            return 0;
        }
    }
    return 1;
}

static void forget_inputs(void)
{
    for (uint32_t i = 0; i < engine_inputs(); i++) {
        state.input_filled[i] = 0;
    }
}

static int32_t invoke_once(uint32_t *ticks)
{
    port_stack_paint();
    port_trigger(PORT_TRIGGER_INVOKE, 1);
    const uint32_t start = port_ticks();
    const int32_t error = engine_invoke();
    *ticks = port_ticks() - start;
    port_trigger(PORT_TRIGGER_INVOKE, 0);
    const uint32_t used = port_stack_used();
    if (used > state.stack_used) {
        state.stack_used = used;
    }
    return error;
}

/* Only a single run leaves an output that counts: a second one reads what the first left. */
static void run_invoke(uint32_t bytes)
{
    const uint32_t repeats = bytes == 2u ? wire_u16(payload(&request)) : 0u;
    uint64_t sum = 0;
    uint32_t least = UINT32_MAX;
    uint32_t most = 0;
    if (repeats == 0u) {
        answer(STATUS_ARGUMENT, 0);
        return;
    }
    if (!inputs_are_filled()) {
        answer(STATUS_STATE, 0);
        return;
    }
    forget_inputs();
    state.has_output = 0;
    for (uint32_t i = 0; i < repeats; i++) {
        uint32_t ticks = 0;
        const int32_t error = invoke_once(&ticks);
        if (error != 0) {
            answer_engine_error(error);
            return;
        }
        sum += ticks;
        least = ticks < least ? ticks : least;
        most = ticks > most ? ticks : most;
    }
    state.has_output = (uint8_t)(repeats == 1u);
    uint8_t *at = payload(&reply);
    wire_put_u32(at, (uint32_t)(sum & UINT32_MAX));
    wire_put_u32(at + 4, (uint32_t)(sum >> 32));
    wire_put_u32(at + 8, least);
    wire_put_u32(at + 12, most);
    answer(STATUS_OK, INVOKE_BYTES);
}

static void run_output(uint32_t bytes)
{
    const uint8_t *from = payload(&request);
    if (bytes != CHUNK_BYTES + 2u) {
        answer(STATUS_ARGUMENT, 0);
        return;
    }
    const uint32_t index = from[0];
    const uint32_t offset = wire_u32(from + 1);
    const uint32_t count = wire_u16(from + CHUNK_BYTES);
    if (index >= engine_outputs() || count > PAYLOAD_MAX_BYTES
        || offset > engine_output_bytes(index) || count > engine_output_bytes(index) - offset) {
        answer(STATUS_ARGUMENT, 0);
        return;
    }
    if (state.has_output == 0) {
        answer(STATUS_STATE, 0);
        return;
    }
    const uint8_t *output = engine_output(index) + offset;
    for (uint32_t i = 0; i < count; i++) {
        payload(&reply)[i] = output[i];
    }
    answer(STATUS_OK, count);
}

static void run_memory(void)
{
    uint8_t *at = payload(&reply);
    wire_put_u32(at, engine_arena_bytes());
    wire_put_u32(at + 4, state.stack_used);
    wire_put_u32(at + 8, port_stack_bytes());
    answer(STATUS_OK, MEMORY_BYTES);
}

/* Request: first layer, u16. Reply: ticks of the layers from there on, as many as fit. */
static void run_layers(uint32_t bytes)
{
#ifdef LAYER_TICKS
    const uint32_t first = bytes == 2u ? wire_u16(payload(&request)) : UINT32_MAX;
    const uint32_t layers = engine_layers() < LAYERS_MAX ? engine_layers() : LAYERS_MAX;
    if (first > layers) {
        answer(STATUS_ARGUMENT, 0);
        return;
    }
    uint32_t count = 0;
    while (first + count < layers && 4u * (count + 1u) <= PAYLOAD_MAX_BYTES) {
        wire_put_u32(payload(&reply) + 4u * count, layer_ticks[first + count]);
        count++;
    }
    answer(STATUS_OK, 4u * count);
#else
    (void)bytes;
    answer(STATUS_ARGUMENT, 0);
#endif
}

static void run(void)
{
    const uint32_t bytes = wire_payload_bytes(&request);
    switch (request.bytes[4]) {
    case COMMAND_HELLO: run_hello(); break;
    case COMMAND_INPUT: run_input(bytes); break;
    case COMMAND_INVOKE: run_invoke(bytes); break;
    case COMMAND_OUTPUT: run_output(bytes); break;
    case COMMAND_MEMORY: run_memory(); break;
    case COMMAND_LAYERS: run_layers(bytes); break;
    case COMMAND_RESET:
        answer(STATUS_OK, 0);
        port_reset();
        break;
    default: answer(STATUS_COMMAND, 0); break;
    }
}

void command_init(void)
{
    state.has_reply = 0;
    state.has_output = 0;
    state.faulted = 0;
    state.stack_used = 0;
    forget_inputs();
    state.engine_error = engine_init();
}

void command_take(uint8_t byte)
{
    const wire_event event = wire_take(&request, byte);
    if (event == WIRE_BROKEN) {
        wire_send_malformed(port_write);
    } else if (event == WIRE_FRAME) {
        const uint32_t command = request.bytes[4];
        if (state.has_reply != 0 && state.answered == wire_crc(&request)) {
            wire_send_again(&reply, port_write);
        } else if (state.faulted != 0 && command != COMMAND_RESET) {
            answer_fault();
        } else if (state.engine_error != 0 && command != COMMAND_HELLO
                   && command != COMMAND_RESET) {
            answer_engine_error(state.engine_error);
        } else {
            run();
        }
    }
}

void command_fault(const uint32_t *registers)
{
    for (uint32_t i = 0; i < FAULT_WORDS; i++) {
        state.fault[i] = registers[i];
    }
    state.faulted = 1;
    answer_fault();
}
