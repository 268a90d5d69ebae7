/* A libnvidia-ml.so.1 with two whole GPUs and one MIG instance, for machines that have none.
 *
 * GPU 0 counts energy; GPU 1 does not (as before Volta), has no temperature sensor that it admits to, and is busy for
 * the first utilization query. STUB_NO_DRIVER=1 makes initialization fail as without a driver.
 */
#include <stdlib.h>
#include <string.h>

typedef int nvmlReturn_t;
typedef struct { int index; } Device;
typedef struct { unsigned int gpu, memory; } Utilization;
typedef struct { unsigned long long total, free, used; } Memory;

enum { SUCCESS = 0, NOT_SUPPORTED = 3, NOT_FOUND = 6, DRIVER_NOT_LOADED = 9, UNKNOWN = 999 };

static Device devices[3] = {{0}, {1}, {2}};
static const char *uuids[3] = {"GPU-aaaa0000-1111", "GPU-bbbb0000-2222", "MIG-cccc0000-3333"};
static int open_count = 0;

nvmlReturn_t nvmlInitWithFlags(unsigned int flags) {
    if (getenv("STUB_NO_DRIVER")) return DRIVER_NOT_LOADED;
    open_count++;
    return SUCCESS;
}
nvmlReturn_t nvmlShutdown(void) { open_count--; return SUCCESS; }
int stub_open_count(void) { return open_count; }
const char *nvmlErrorString(nvmlReturn_t code) { return "stub error"; }
nvmlReturn_t nvmlSystemGetDriverVersion(char *text, unsigned int length) { strncpy(text, "575.51", length); return SUCCESS; }
nvmlReturn_t nvmlDeviceGetCount_v2(unsigned int *count) { *count = 2; return SUCCESS; }
nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned int index, Device **device) { *device = &devices[index]; return SUCCESS; }
nvmlReturn_t nvmlDeviceGetHandleByUUID(const char *uuid, Device **device) {
    for (int i = 0; i < 3; i++) if (!strcmp(uuid, uuids[i])) { *device = &devices[i]; return SUCCESS; }
    return NOT_FOUND;
}
nvmlReturn_t nvmlDeviceGetUUID(Device *device, char *text, unsigned int length) { strncpy(text, uuids[device->index], length); return SUCCESS; }
nvmlReturn_t nvmlDeviceGetName(Device *device, char *text, unsigned int length) { strncpy(text, "NVIDIA Stub", length); return SUCCESS; }
nvmlReturn_t nvmlDeviceGetUtilizationRates(Device *device, Utilization *rates) {
    static int queries = 0;
    if (device->index == 2) return NOT_SUPPORTED;
    if (device->index == 1 && queries++ == 0) return UNKNOWN;
    rates->gpu = 40 + device->index;
    rates->memory = 10;
    return SUCCESS;
}
nvmlReturn_t nvmlDeviceGetMemoryInfo(Device *device, Memory *memory) {
    memory->total = 16ULL << 30;
    memory->used = (3ULL + device->index) << 30;
    memory->free = memory->total - memory->used;
    return SUCCESS;
}
nvmlReturn_t nvmlDeviceGetTemperature(Device *device, int sensor, unsigned int *celsius) {
    if (device->index != 0) return NOT_SUPPORTED;
    *celsius = 61;
    return SUCCESS;
}
nvmlReturn_t nvmlDeviceGetPowerUsage(Device *device, unsigned int *milliwatts) {
    if (device->index == 2) return NOT_SUPPORTED;
    *milliwatts = 250500;
    return SUCCESS;
}
nvmlReturn_t nvmlDeviceGetTotalEnergyConsumption(Device *device, unsigned long long *millijoules) {
    static unsigned long long total = 5000000;
    if (device->index != 0) return NOT_SUPPORTED;
    total += 1500;
    *millijoules = total;
    return SUCCESS;
}
