/* libnvidia-ml.so.1 and libcuda.so.1 of a machine that is described by environment variables (see tests/gpu/fake_machine.py).
   One source for both, so that a test can put both, or one, or none, on the loader's path. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int number(const char *name, int otherwise) {
    const char *text = getenv(name);
    return text ? atoi(text) : otherwise;
}

static const char *text(const char *name, const char *otherwise) {
    const char *found = getenv(name);
    return found ? found : otherwise;
}

/* FAKE_HANG and FAKE_CRASH name the call in which the library hangs or crashes. */
static void ill(const char *call) {
    if (!strcmp(text("FAKE_HANG", ""), call))
        for (;;) pause();
    if (!strcmp(text("FAKE_CRASH", ""), call)) raise(SIGSEGV);
}

#ifdef NVML
typedef struct { unsigned long long total, free, used; } memory_t;
typedef struct {
    char legacy[16];
    unsigned int domain, bus, device, id, subsystem;
    char bus_id[32];
} pci_t;

int nvmlInitWithFlags(unsigned int flags) { ill("nvmlInit"); return number("FAKE_NVML_INIT", 0); }
int nvmlInit(void) { return nvmlInitWithFlags(0); }
int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
int nvmlShutdown(void) { return 0; }
const char *nvmlErrorString(int code) {
    switch (code) {
    case 4: return "Insufficient Permissions";
    case 9: return "Driver Not Loaded";
    case 15: return "GPU is lost";
    case 18: return "Driver/library version mismatch";
    case 999: return "Unknown Error";
    default: return "some NVML error";
    }
}
int nvmlSystemGetDriverVersion(char *to, unsigned int size) {
    snprintf(to, size, "%s", text("FAKE_DRIVER", "570.86.10"));
    return 0;
}
int nvmlSystemGetCudaDriverVersion(int *to) { *to = number("FAKE_DRIVER_CUDA", 12080); return 0; }
int nvmlDeviceGetCount_v2(unsigned int *to) { *to = number("FAKE_CARDS", 1); return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **to) {
    *to = (void *)(long)(index + 1);
    if (getenv("FAKE_DENIED")) return 4;
    return index == (unsigned int)number("FAKE_LOST", -1) ? 15 : 0;
}
/* A MIG instance's handle is 1000 and its number; all of them are on card 0. */
static int instance_of(void *handle) { return (long)handle >= 1000 ? (int)(long)handle - 1000 : -1; }
static int index_of(void *handle) { return instance_of(handle) < 0 ? (int)(long)handle - 1 : 0; }
int nvmlDeviceGetName(void *handle, char *to, unsigned int size) {
    snprintf(to, size, "%s", text("FAKE_NAME", "NVIDIA GeForce RTX 4090"));
    return 0;
}
int nvmlDeviceGetUUID(void *handle, char *to, unsigned int size) {
    int instance = instance_of(handle);
    snprintf(to, size, "%s-%08d-aaaa-bbbb-cccc-dddddddddddd", instance < 0 ? "GPU" : "MIG", instance < 0 ? index_of(handle) : instance);
    return 0;
}
int nvmlDeviceGetPciInfo_v3(void *handle, pci_t *to) {
    memset(to, 0, sizeof *to);
    to->bus = index_of(handle) + 1;
    snprintf(to->bus_id, sizeof to->bus_id, "00000000:%02X:00.0", to->bus);
    return 0;
}
int nvmlDeviceGetMemoryInfo(void *handle, memory_t *to) {
    to->total = 24564ull << 20;
    to->free = (unsigned long long)number("FAKE_FREE_MIB", 24000) << 20;
    if (instance_of(handle) >= 0) {
        to->total = (instance_of(handle) + 1) * (4864ull << 20);
        to->free = to->total - (64ull << 20);
    }
    to->used = to->total - to->free;
    return 0;
}
int nvmlDeviceGetCudaComputeCapability(void *handle, int *major, int *minor) {
    *major = number("FAKE_CAPABILITY", 89) / 10;
    *minor = number("FAKE_CAPABILITY", 89) % 10;
    return 0;
}
int nvmlDeviceGetComputeMode(void *handle, int *to) { *to = number("FAKE_COMPUTE_MODE", 0); return 0; }
int nvmlDeviceGetMigMode(void *handle, unsigned int *current, unsigned int *pending) {
    *current = *pending = number("FAKE_MIG", 0);
    return number("FAKE_MIG", -1) < 0 ? 3 : 0; /* 3: not supported, as a GeForce says */
}
int nvmlDeviceGetMaxMigDeviceCount(void *handle, unsigned int *to) { *to = 7; return 0; }
int nvmlDeviceGetMigDeviceHandleByIndex(void *handle, unsigned int index, void **to) {
    *to = (void *)(long)(1000 + index);
    return index < (unsigned int)number("FAKE_INSTANCES", 0) ? 0 : 6; /* 6: not found */
}
#endif

#ifdef CUDA
int cuInit(unsigned int flags) {
    fprintf(stdout, "{\"hf_monitor_probe\": 3} a library that prints\n"); /* must not disturb the probe's own lines */
    fflush(stdout);
    ill("cuInit");
    return number("FAKE_CUINIT", 0);
}
int cuDriverGetVersion(int *to) { *to = number("FAKE_DRIVER_CUDA", 12080); return 0; }
int cuDeviceGetCount(int *to) { *to = number("FAKE_CARDS", 1); return 0; }
int cuGetErrorName(int code, const char **to) {
    static char name[40];
    snprintf(name, sizeof name, "CUDA_ERROR_%d", code);
    *to = name;
    return 0;
}
int cuGetErrorString(int code, const char **to) {
    switch (code) {
    case 34: *to = "CUDA driver is a stub library"; return 0;
    case 100: *to = "no CUDA-capable device is detected"; return 0;
    case 802: *to = "system not yet initialized"; return 0;
    case 803: *to = "system has unsupported display driver / cuda driver combination"; return 0;
    case 804: *to = "forward compatibility was attempted on non supported HW"; return 0;
    case 999: *to = "unknown error"; return 0;
    default: return 1;
    }
}
#endif
