#ifndef MICRO_MUTABLE_OP_RESOLVER_H
#define MICRO_MUTABLE_OP_RESOLVER_H
#include <stddef.h>
#include <stdint.h>
enum TfLiteStatus { kTfLiteOk = 0, kTfLiteError = 1 };
namespace tflite {
template <unsigned int N> class MicroMutableOpResolver {
  public:
    TfLiteStatus AddFullyConnected() { return count_++ < N ? kTfLiteOk : kTfLiteError; }
  private:
    unsigned int count_ = 0;
};
} // namespace tflite
#endif
