// What a worker of llama.cpp's RPC offers of its memory, and which protocol it speaks.
//
// ggml-rpc.cpp is compiled with the names of three functions of ggml-backend.h replaced by those of this file
// (scripts/rpc_backend.py). So a bound holds for all buffers of a worker's clients together; it is told as the device's
// memory, and what exceeds it is refused, as where a device has no more. In a process that is no worker there is no bound.

#include "ggml-rpc.h"

#include <algorithm>
#include <cstdint>
#include <mutex>

static std::mutex lock;
static size_t offered = SIZE_MAX;  // bytes
static size_t taken   = 0;         // bytes, in buffers of clients

extern "C" {

// Offer so many bytes from now on.
__attribute__((visibility("default"))) void nitro_rpc_offer(size_t bytes) {
    std::lock_guard<std::mutex> hold(lock);
    offered = bytes;
}

// The protocol: major, minor, patch, a byte each.
__attribute__((visibility("default"))) uint32_t nitro_rpc_protocol(void) {
    return RPC_PROTO_MAJOR_VERSION << 16 | RPC_PROTO_MINOR_VERSION << 8 | RPC_PROTO_PATCH_VERSION;
}

void nitro_rpc_memory(ggml_backend_dev_t device, size_t * free, size_t * total) {
    ggml_backend_dev_memory(device, free, total);
    std::lock_guard<std::mutex> hold(lock);
    *free  = std::min(*free, offered - taken);
    *total = std::min(*total, offered);
}

ggml_backend_buffer_t nitro_rpc_alloc(ggml_backend_buffer_type_t type, size_t size) {
    {
        std::lock_guard<std::mutex> hold(lock);
        if (size > offered - taken) {
            return nullptr;
        }
    }
    ggml_backend_buffer_t buffer = ggml_backend_buft_alloc_buffer(type, size);
    if (buffer) {
        std::lock_guard<std::mutex> hold(lock);
        taken += ggml_backend_buffer_get_size(buffer);
        taken = std::min(taken, offered);  // a buffer may be a little larger than what was asked for
    }
    return buffer;
}

void nitro_rpc_free(ggml_backend_buffer_t buffer) {
    if (buffer) {
        std::lock_guard<std::mutex> hold(lock);
        taken -= std::min(taken, ggml_backend_buffer_get_size(buffer));
    }
    ggml_backend_buffer_free(buffer);
}

}
