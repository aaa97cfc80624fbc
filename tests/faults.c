/* LD_PRELOAD: the N-th call of one function fails as FAULT says, or, with "+" for N, every call from then on.
 * FAULT=function:N:errno, or function:N+:errno. Functions: pwrite, fsync, ftruncate, link, rename, unlink, open, flock.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

static int fails(const char *function) {
    static int calls;
    const char *fault = getenv("FAULT");
    size_t length = strlen(function);
    if (fault == NULL || strncmp(fault, function, length) != 0 || fault[length] != ':') return 0;
    char *end;
    long first = strtol(fault + length + 1, &end, 10);
    int always = *end == '+';
    int call = __atomic_add_fetch(&calls, 1, __ATOMIC_SEQ_CST);
    if (call < first || (call > first && !always)) return 0;
    errno = atoi(end + 1 + always);
    return 1;
}

#define REAL(result, name, ...) ((result (*)(__VA_ARGS__))dlsym(RTLD_NEXT, name))

ssize_t pwrite64(int file, const void *data, size_t size, off64_t place) {
    if (fails("pwrite")) return -1;
    return REAL(ssize_t, "pwrite64", int, const void *, size_t, off64_t)(file, data, size, place);
}
ssize_t pwrite(int file, const void *data, size_t size, off_t place) { return pwrite64(file, data, size, place); }
int fsync(int file) { return fails("fsync") ? -1 : REAL(int, "fsync", int)(file); }
int ftruncate64(int file, off64_t size) {
    return fails("ftruncate") ? -1 : REAL(int, "ftruncate64", int, off64_t)(file, size);
}
int ftruncate(int file, off_t size) { return ftruncate64(file, size); }
int flock(int file, int how) { return fails("flock") ? -1 : REAL(int, "flock", int, int)(file, how); }
int linkat(int from, const char *old, int to, const char *new, int flags) {
    return fails("link") ? -1 : REAL(int, "linkat", int, const char *, int, const char *, int)(from, old, to, new, flags);
}
int renameat(int from, const char *old, int to, const char *new) {
    return fails("rename") ? -1 : REAL(int, "renameat", int, const char *, int, const char *)(from, old, to, new);
}
int unlinkat(int directory, const char *name, int flags) {
    return fails("unlink") ? -1 : REAL(int, "unlinkat", int, const char *, int)(directory, name, flags);
}
