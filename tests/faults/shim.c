/* Makes system calls on files below one folder fail, on demand: LD_PRELOAD, driven from Python through ctypes.
 *
 *   cc -shared -fPIC -O1 -o shim.so shim.c -ldl
 *
 * Operations, as scripts/check_faults.py numbers them:
 *   0 open    open, openat, creat (reading too)
 *   1 write   write, pwrite, writev to a descriptor that was opened with O_APPEND: rows and lines of the log
 *   2 flush   the same to any other descriptor, and close of what was opened for writing: what a buffered file does when
 *             it is flushed and closed (Python's own buffers end in write(2), there is no system call "flush")
 *   3 rename  rename, renameat, renameat2, link
 *   4 fsync   fsync, fdatasync
 *   5 other   mkdir, unlink, unlinkat, ftruncate; opening ".lock", without which we go on
 *   6         any of these
 * A failing close closes, as Linux does. Nothing else is changed; one thread arms, any may fail.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { OPEN, WRITE, FLUSH, RENAME, FSYNC, OTHER, ANY, N_OPS };
enum { MAX_FD = 65536, READS = 1, APPENDS = 2, BUFFERED = 3 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char folder[PATH_MAX];
static size_t folder_length;
static unsigned char kinds[MAX_FD]; /* of the descriptors below the folder; 0: not there */
static long counts[N_OPS];
static int armed = -1, armed_errno, forever;
static long armed_nth, fired;

/* Count from here on, for paths below `path` (absolute, without a slash at its end). Nothing is armed. */
void shim_watch(const char *path) {
    pthread_mutex_lock(&lock);
    strncpy(folder, path, sizeof folder - 1);
    folder_length = strlen(folder);
    memset(counts, 0, sizeof counts);
    armed = -1;
    fired = 0;
    pthread_mutex_unlock(&lock);
}

/* Count anew, and fail the nth call from here (from 1) of an operation; all that follow, too, if asked. */
void shim_arm(int op, int error, long nth, int from_then_on) {
    pthread_mutex_lock(&lock);
    memset(counts, 0, sizeof counts);
    armed = op;
    armed_errno = error;
    armed_nth = nth;
    forever = from_then_on;
    fired = 0;
    pthread_mutex_unlock(&lock);
}

void shim_disarm(void) { armed = -1; }
long shim_fired(void) { return fired; }
long shim_count(int op) { return counts[op]; }

static int below(const char *path) {
    return folder_length && path && strncmp(path, folder, folder_length) == 0 &&
           (path[folder_length] == '/' || path[folder_length] == 0);
}

/* Whether this call is to fail; errno is set then. */
static int fails(int op) {
    int hit = 0;
    pthread_mutex_lock(&lock);
    counts[op]++;
    counts[ANY]++;
    if (armed == op || armed == ANY)
        hit = forever ? counts[armed] >= armed_nth : counts[armed] == armed_nth;
    if (hit) {
        fired++;
        errno = armed_errno;
    }
    pthread_mutex_unlock(&lock);
    return hit;
}

static int kind(int fd) { return fd >= 0 && fd < MAX_FD ? kinds[fd] : 0; }

static int is_lock(const char *path) {
    const char *name = strrchr(path, '/');
    return name && strcmp(name, "/.lock") == 0;
}

static int opening(const char *path) { return is_lock(path) ? OTHER : OPEN; }

static int opened(int fd, const char *path, int flags) {
    if (fd >= 0 && fd < MAX_FD)
        kinds[fd] = !below(path)                                           ? 0
                    : (flags & O_ACCMODE) == O_RDONLY || is_lock(path)     ? READS
                    : flags & O_APPEND                                     ? APPENDS
                                                                           : BUFFERED;
    return fd;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define MODE(flags, mode)                                  \
    mode_t mode = 0;                                       \
    if ((flags) & (O_CREAT | O_TMPFILE)) {                 \
        va_list list;                                      \
        va_start(list, flags);                             \
        mode = (mode_t)va_arg(list, int);                  \
        va_end(list);                                      \
    }

#define OPENS(name)                                        \
    int name(const char *path, int flags, ...) {           \
        MODE(flags, mode)                                  \
        if (below(path) && fails(opening(path))) return -1;         \
        return opened(REAL(name)(path, flags, mode), path, flags); \
    }
OPENS(open)
OPENS(open64)

#define OPENS_AT(name)                                     \
    int name(int at, const char *path, int flags, ...) {   \
        MODE(flags, mode)                                  \
        if (below(path) && fails(opening(path))) return -1;         \
        return opened(REAL(name)(at, path, flags, mode), path, flags); \
    }
OPENS_AT(openat)
OPENS_AT(openat64)

int creat(const char *path, mode_t mode) {
    if (below(path) && fails(opening(path))) return -1;
    return opened(REAL(creat)(path, mode), path, O_WRONLY);
}

static int write_fails(int fd) {
    int found = kind(fd);
    return found && fails(found == APPENDS ? WRITE : FLUSH);
}

ssize_t write(int fd, const void *data, size_t size) { return write_fails(fd) ? -1 : REAL(write)(fd, data, size); }
ssize_t writev(int fd, const struct iovec *parts, int n) { return write_fails(fd) ? -1 : REAL(writev)(fd, parts, n); }
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
    return write_fails(fd) ? -1 : REAL(pwrite)(fd, data, size, at);
}
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    return write_fails(fd) ? -1 : REAL(pwrite64)(fd, data, size, at);
}

int close(int fd) {
    int writes = kind(fd) >= APPENDS;
    if (kind(fd)) kinds[fd] = 0;
    int result = REAL(close)(fd);
    return writes && fails(FLUSH) ? -1 : result;
}

int fsync(int fd) { return kind(fd) && fails(FSYNC) ? -1 : REAL(fsync)(fd); }
int fdatasync(int fd) { return kind(fd) && fails(FSYNC) ? -1 : REAL(fdatasync)(fd); }

int rename(const char *from, const char *to) {
    return (below(from) || below(to)) && fails(RENAME) ? -1 : REAL(rename)(from, to);
}
int renameat(int a, const char *from, int b, const char *to) {
    return (below(from) || below(to)) && fails(RENAME) ? -1 : REAL(renameat)(a, from, b, to);
}
int renameat2(int a, const char *from, int b, const char *to, unsigned flags) {
    return (below(from) || below(to)) && fails(RENAME) ? -1 : REAL(renameat2)(a, from, b, to, flags);
}
int link(const char *from, const char *to) {
    return (below(from) || below(to)) && fails(RENAME) ? -1 : REAL(link)(from, to);
}

int mkdir(const char *path, mode_t mode) { return below(path) && fails(OTHER) ? -1 : REAL(mkdir)(path, mode); }
int unlink(const char *path) { return below(path) && fails(OTHER) ? -1 : REAL(unlink)(path); }
int unlinkat(int at, const char *path, int flags) {
    return below(path) && fails(OTHER) ? -1 : REAL(unlinkat)(at, path, flags);
}
int ftruncate(int fd, off_t size) { return kind(fd) && fails(OTHER) ? -1 : REAL(ftruncate)(fd, size); }
int ftruncate64(int fd, off64_t size) { return kind(fd) && fails(OTHER) ? -1 : REAL(ftruncate64)(fd, size); }
