/* The processors that threads of one call start on.
 *
 * Where a virtual machine's processor is halted, Linux takes it for one that the host has taken away: a thread that is
 * started or woken is then put where its waker runs, and shares that processor for 1 to 4 ms, until the scheduler
 * balances its queues. So in their first range of work, in which nobody holds the GIL, the caller says where it runs and
 * both give way once; a helper that finds itself on the caller's processor does that range on any of the others. */
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

typedef struct {
    _Atomic int processor; /* that the caller was on in its first range; -1 before */
} winit_start;

#if defined(__linux__) && defined(CPU_SETSIZE) /* with _GNU_SOURCE, as Python.h has it */

typedef struct {
    cpu_set_t allowed;
    int moved;
} winit_place;

/* Called at the start of a range; `start` is NULL after a thread's first. */
static inline void winit_take_place(winit_start *start, int helper, winit_place *place)
{
    place->moved = 0;
    if (start == NULL) return;
    if (!helper) atomic_store_explicit(&start->processor, sched_getcpu(), memory_order_relaxed);
    WINIT_YIELD();
    if (!helper) return;
    const int taken = atomic_load_explicit(&start->processor, memory_order_relaxed);
    cpu_set_t others;
    if (taken < 0 || taken >= CPU_SETSIZE || taken != sched_getcpu()) return;
    if (sched_getaffinity(0, sizeof place->allowed, &place->allowed) != 0) return;
    others = place->allowed;
    CPU_CLR(taken, &others);
    place->moved = CPU_COUNT(&others) > 0 && sched_setaffinity(0, sizeof others, &others) == 0;
}

/* Called at its end: the thread may run anywhere again. */
static inline void winit_leave_place(const winit_place *place)
{
    if (place->moved) (void)sched_setaffinity(0, sizeof place->allowed, &place->allowed);
}

#else

typedef int winit_place;

static inline void winit_take_place(winit_start *start, int helper, winit_place *place)
{
    (void)helper;
    *place = 0;
    if (start != NULL) WINIT_YIELD();
}

static inline void winit_leave_place(const winit_place *place) { (void)place; }

#endif
#endif
