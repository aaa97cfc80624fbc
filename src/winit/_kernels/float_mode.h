/* The caller's rounding mode and flush-to-zero flags (a library built with -ffast-math sets them for its whole process)
 * are not part of the law: sampling runs under the default ones. Compilers move arithmetic across these functions; only
 * a call that is not inlined stays between them. */
#ifndef WINIT_FLOAT_MODE_H
#define WINIT_FLOAT_MODE_H

#include <stdint.h>

#if defined(__SSE2__)
#include <emmintrin.h>
typedef unsigned int winit_float_mode;
static inline winit_float_mode winit_default_float_mode(void)
{
    const winit_float_mode saved = _mm_getcsr();
    _mm_setcsr(0x1F80u);
    return saved;
}
static inline void winit_restore_float_mode(winit_float_mode saved) { _mm_setcsr(saved); }
#elif defined(__aarch64__) && defined(__GNUC__)
typedef uint64_t winit_float_mode;
static inline winit_float_mode winit_default_float_mode(void)
{
    winit_float_mode saved;
    __asm__ volatile("mrs %0, fpcr" : "=r"(saved));
    __asm__ volatile("msr fpcr, %0" : : "r"((winit_float_mode)0));
    return saved;
}
static inline void winit_restore_float_mode(winit_float_mode saved)
{
    __asm__ volatile("msr fpcr, %0" : : "r"(saved));
}
#else
typedef int winit_float_mode;
static inline winit_float_mode winit_default_float_mode(void) { return 0; }
static inline void winit_restore_float_mode(winit_float_mode saved) { (void)saved; }
#endif

#endif
