/* The processors that threads of one call start on.
 *
 * Where a virtual machine's processor is halted, Linux takes it for one that the host has taken away: a thread that is
 * started or woken is then queued where its waker runs, and the two share that processor for 1 to 4 ms, until the
 * scheduler balances its queues. So in its first range of work, which holds no GIL, each thread of a call asks the system
 * whether another of them waits for the very processor it runs on: the caller then sends a waiting helper to any of the
 * others, and a helper goes there itself, until its range ends. */
#ifndef WINIT_PROCESSORS_H
#define WINIT_PROCESSORS_H

#include <stdatomic.h>
#include <stddef.h>

#if defined(_WIN32)
__declspec(dllimport) int __stdcall SwitchToThread(void); /* windows.h defines macros of short names */
#define WINIT_YIELD() SwitchToThread()
#else
#include <sched.h>
#define WINIT_YIELD() sched_yield()
#endif
#if defined(_MSC_VER)
#define WINIT_THREAD_LOCAL __declspec(thread)
#else
#define WINIT_THREAD_LOCAL _Thread_local
#endif

enum { WINIT_ASKED = 16 }; /* helpers that the caller asks about; a question takes some 10 us */

#if defined(__linux__) && defined(CPU_SETSIZE) /* with _GNU_SOURCE, as Python.h has it */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

typedef struct {
    int caller, known; /* its thread; whether `allowed` is known */
    int room;          /* as many threads of the machine may be able to run, for one to be sent away */
    cpu_set_t allowed; /* where the caller may run, and so its helpers */
    _Atomic int helpers, helper[WINIT_ASKED], sent[WINIT_ASKED]; /* threads, and which may not run everywhere */
} winit_start;

static inline void winit_start_init(winit_start *start, int room)
{
    memset(start, 0, sizeof *start);
    start->caller = (int)syscall(SYS_gettid);
    start->known = sched_getaffinity(0, sizeof start->allowed, &start->allowed) == 0 && CPU_COUNT(&start->allowed) > 1;
    start->room = room > 0 ? room : CPU_COUNT(&start->allowed);
}

/* A helper's place among the helpers, -1 where it has none. */
static inline int winit_start_join(winit_start *start)
{
    const int thread = (int)syscall(SYS_gettid);
    if (!start->known || thread == start->caller) return -1; /* green threads are one thread */
    const int place = atomic_fetch_add(&start->helpers, 1);
    if (place >= WINIT_ASKED) return -1;
    atomic_store(&start->helper[place], thread);
    return place;
}

/* A file of /proc, NULL where it cannot be read. */
static inline const char *winit_read_proc(const char *path, char *text, size_t room)
{
    const int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return NULL;
    const ssize_t size = read(file, text, room - 1);
    close(file);
    if (size <= 0) return NULL;
    text[size] = '\0';
    return text;
}

/* Whether a thread could run, but waits for the processor that this one runs on, while there are processors enough. */
static inline int winit_waits_here(const winit_start *start, int thread)
{
    char path[64], text[1024];
    int runnable;
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", thread);
    const char *at = winit_read_proc(path, text, sizeof text);
    if (at == NULL) return 0;
    at = strrchr(at, ')'); /* of the name, after which fields 3 (state) to 39 (processor) follow */
    if (at == NULL || at[1] != ' ' || at[2] != 'R') return 0;
    for (int field = 2; field < 39; field++) {
        at = strchr(at + 1, ' ');
        if (at == NULL) return 0;
    }
    if (atoi(at + 1) != sched_getcpu()) return 0;
    at = winit_read_proc("/proc/loadavg", text, sizeof text); /* three averages, threads that could run / threads */
    return at != NULL && sscanf(at, "%*s %*s %*s %d/", &runnable) == 1 && runnable <= start->room;
}

/* Let a thread run anywhere but on this processor; 0 is this thread. Returns whether that is so now. */
static inline int winit_send_away(const winit_start *start, int thread)
{
    const int here = sched_getcpu();
    cpu_set_t others = start->allowed;
    if (here < 0 || here >= CPU_SETSIZE) return 0;
    CPU_CLR(here, &others);
    return CPU_COUNT(&others) > 0 && sched_setaffinity(thread, sizeof others, &others) == 0;
}

/* Called at the start of a thread's first range. */
static inline void winit_take_place(winit_start *start, int helping, int place)
{
    if (!start->known) return;
    if (helping) {
        if (place < 0 || !winit_waits_here(start, start->caller)) return;
        if (winit_send_away(start, 0)) atomic_store(&start->sent[place], 1);
        return;
    }
    const int helpers = atomic_load(&start->helpers);
    for (int i = 0; i < helpers && i < WINIT_ASKED; i++) {
        const int helper = atomic_load(&start->helper[i]);
        if (helper == 0 || !winit_waits_here(start, helper)) continue;
        if (winit_send_away(start, helper)) atomic_store(&start->sent[i], 1);
    }
}

/* Called by a helper at the end of its first range, and of all: nobody asks about it, and it may run anywhere again. */
static inline void winit_leave_place(winit_start *start, int place)
{
    if (place < 0) return;
    atomic_store(&start->helper[place], 0);
    if (atomic_exchange(&start->sent[place], 0)) {
        (void)sched_setaffinity(0, sizeof start->allowed, &start->allowed);
    }
}

#else

typedef struct {
    int unused;
} winit_start;

static inline void winit_start_init(winit_start *start, int room) { start->unused = room; }

static inline int winit_start_join(winit_start *start)
{
    (void)start;
    return -1;
}

static inline void winit_take_place(winit_start *start, int helping, int place)
{
    (void)start;
    (void)helping;
    (void)place;
}

static inline void winit_leave_place(winit_start *start, int place)
{
    (void)start;
    (void)place;
}

#endif
#endif
