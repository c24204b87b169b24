#ifndef SCHEMA_GENERATED_H
#define SCHEMA_GENERATED_H
#include <stdint.h>
#define TFLITE_SCHEMA_VERSION 3
namespace tflite {
struct Model {
    uint8_t content[8];
    uint32_t version() const { return content[4] == 'T' && content[5] == 'F' ? 3u : 0u; }
};
inline const Model *GetModel(const void *buffer) { return static_cast<const Model *>(buffer); }
} // namespace tflite
#endif
