// A CUDA driver that goes wrong where FAIL says, for tests of what is said then. It never runs a kernel.
#include <stdlib.h>
#include <string.h>

static int fails(const char *what) {
    const char *fail = getenv("FAIL");
    return fail && !strcmp(fail, what);
}

int cuInit(unsigned flags) { return fails("init") ? 100 : 0; }
int cuDriverGetVersion(int *version) { *version = 10020; return 0; }
int cuDeviceGetCount(int *count) { *count = 1; return 0; }
int cuDeviceGet(int *device, int number) { *device = number; return 0; }
int cuDeviceGetName(char *name, int size, int device) { strncpy(name, "Test device", size); return 0; }
int cuDeviceGetAttribute(int *value, int which, int device) { *value = fails("old device") ? 7 : 8; return 0; }
int cuDevicePrimaryCtxRetain(void **context, int device) { *context = &fails; return 0; }
int cuDevicePrimaryCtxRelease_v2(int device) { return 0; }
int cuCtxSetCurrent(void *context) { return 0; }
int cuModuleLoadData(void **module, const void *text) { *module = &fails; return fails("ptx version") ? 222 : fails("ptx") ? 218 : 0; }
int cuModuleUnload(void *module) { return 0; }
int cuModuleGetFunction(void **function, void *module, const char *name) { *function = &fails; return fails("kernel") ? 500 : 0; }
int cuFuncSetAttribute(void *function, int which, int value) { return 0; }
int cuMemAlloc_v2(unsigned long long *address, size_t bytes) { *address = 0; return fails("memory") ? 2 : 0; }
int cuMemFree_v2(unsigned long long address) { return 0; }
int cuMemsetD8_v2(unsigned long long address, unsigned char value, size_t bytes) { return 0; }
int cuMemsetD8Async(unsigned long long address, unsigned char value, size_t bytes, void *stream) { return 0; }
int cuMemcpyHtoDAsync_v2(unsigned long long to, const void *from, size_t bytes, void *stream) { return 0; }
int cuMemcpyDtoHAsync_v2(void *to, unsigned long long from, size_t bytes, void *stream) { return fails("run") ? 700 : 0; }
int cuStreamCreate(void **stream, unsigned flags) { *stream = &fails; return 0; }
int cuStreamDestroy_v2(void *stream) { return 0; }
#ifndef INCOMPLETE
int cuStreamSynchronize(void *stream) { return fails("run") ? 700 : 0; }
#endif
int cuLaunchKernel(void *f, unsigned a, unsigned b, unsigned c, unsigned d, unsigned e, unsigned g, unsigned h, void *s, void **p, void **x) {
    return 0;
}
int cuGetErrorName(int error, const char **name) { *name = error == 2 ? "CUDA_ERROR_OUT_OF_MEMORY" : "CUDA_ERROR"; return 0; }
int cuGetErrorString(int error, const char **text) { *text = error == 2 ? "out of memory" : "a test"; return 0; }
