/* A libnvidia-ml.so.1 of one card, as small as the readings allow: seen through the real loader and the real ctypes.
 * It is of an old driver: no nvmlDeviceGetTemperatureV, no nvmlDeviceGetCurrentClocksEventReasons, no energy. */
#include <stdio.h>
#include <string.h>

typedef void *device_t;
static int card, references;

#define MIB 1048576ull
#define UNINITIALIZED 1
#define NOT_SUPPORTED 3
#define NOT_FOUND 6

int nvmlInitWithFlags(unsigned flags) { references++; return 0; }
int nvmlShutdown(void) { if (!references) return UNINITIALIZED; references--; return 0; }
int nvmlSystemGetDriverVersion(char *text, unsigned size) { snprintf(text, size, "418.40.04"); return 0; }

int nvmlDeviceGetHandleByUUID(const char *uuid, device_t *device) {
    if (strcmp(uuid, "GPU-c0c0c0c0-0000-1111-2222-333333333333")) return NOT_FOUND;
    *device = &card;
    return 0;
}
int nvmlDeviceGetHandleByPciBusId_v2(const char *address, device_t *device) {
    if (strcmp(address, "00000000:3b:00.0")) return NOT_FOUND;
    *device = &card;
    return 0;
}
int nvmlDeviceGetUUID(device_t d, char *text, unsigned size) {
    snprintf(text, size, "GPU-c0c0c0c0-0000-1111-2222-333333333333");
    return 0;
}

struct pci { char legacy[16]; unsigned domain, bus, device, id, subsystem; char bus_id[32]; };
int nvmlDeviceGetPciInfo_v3(device_t d, struct pci *pci) {
    memset(pci, 0, sizeof *pci);
    pci->bus = 0x3b;
    return d == &card ? 0 : 2;
}

struct memory { unsigned long long total, free, used; };
int nvmlDeviceGetMemoryInfo(device_t d, struct memory *memory) {
    memory->total = 16160 * MIB;
    memory->used = 1234 * MIB;
    memory->free = memory->total - memory->used;
    return d == &card ? 0 : 2;
}

struct rates { unsigned gpu, memory; };
int nvmlDeviceGetUtilizationRates(device_t d, struct rates *rates) { rates->gpu = 42; rates->memory = 7; return 0; }
int nvmlDeviceGetPowerUsage(device_t d, unsigned *milliwatts) { *milliwatts = 70123; return 0; }
int nvmlDeviceGetTemperature(device_t d, unsigned sensor, unsigned *degrees) { *degrees = 33; return sensor ? 2 : 0; }
int nvmlDeviceGetClockInfo(device_t d, unsigned kind, unsigned *clock) { *clock = 1312; return kind == 1 ? 0 : 2; }
int nvmlDeviceGetCurrentClocksThrottleReasons(device_t d, unsigned long long *reasons) { *reasons = 0x21; return 0; }
int nvmlDeviceGetTotalEnergyConsumption(device_t d, unsigned long long *millijoules) { return NOT_SUPPORTED; }

struct process { unsigned pid; unsigned long long used; unsigned gpu_instance, compute_instance; };
int nvmlDeviceGetComputeRunningProcesses_v2(device_t d, unsigned *count, struct process *processes) {
    if (*count < 1 || !processes) { *count = 1; return 7; }
    *count = 1;
    processes[0].pid = 1;
    processes[0].used = 55 * MIB;
    return 0;
}
