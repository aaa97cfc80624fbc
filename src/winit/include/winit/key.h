/* A seed and a tensor's name to the key of its stream: BLAKE2b with digest_size 8 and person "winit-stream-1" over the
 * seed as 8 little-endian bytes and the name's bytes. C99 and C++, no state, no allocation, no Python.
 *
 * BLAKE2b is RFC 7693; the person, which the RFC leaves out, is the last two words of the parameter block (Aumasson,
 * Neves, Wilcox-O'Hearn, Winnerlein: "BLAKE2: simpler, smaller, fast as MD5", section 2.8). Bytes are put together by
 * shifts, so that a big-endian machine has the same keys. */
#ifndef WINIT_KEY_H
#define WINIT_KEY_H

#include <stddef.h>
#include <stdint.h>

#include "philox.h"

enum { WINIT_BLAKE2B_BLOCK = 128 }; /* bytes */

static inline uint64_t winit_blake2b_rotated(uint64_t x, int by) { return x >> by | x << (64 - by); }

/* The mixing function G of RFC 7693, section 3.1. */
static inline void winit_blake2b_mix(uint64_t *v, int a, int b, int c, int d, uint64_t x, uint64_t y)
{
    v[a] = v[a] + v[b] + x;
    v[d] = winit_blake2b_rotated(v[d] ^ v[a], 32);
    v[c] = v[c] + v[d];
    v[b] = winit_blake2b_rotated(v[b] ^ v[c], 24);
    v[a] = v[a] + v[b] + y;
    v[d] = winit_blake2b_rotated(v[d] ^ v[a], 16);
    v[c] = v[c] + v[d];
    v[b] = winit_blake2b_rotated(v[b] ^ v[c], 63);
}

/* The compression function F, section 3.2: `count` bytes of the message so far, those of this block among them. */
static inline void winit_blake2b_block(uint64_t *h, const uint64_t *iv, const uint64_t *m, uint64_t count, int last)
{
    static const unsigned char sigma[10][16] = {
        {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
        {11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4}, {7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
        {9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13}, {2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
        {12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11}, {13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
        {6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5}, {10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0},
    };
    uint64_t v[16];
    for (int i = 0; i < 8; i++) {
        v[i] = h[i];
        v[8 + i] = iv[i];
    }
    v[12] ^= count; /* its high word, v[13], is for messages of 2^64 bytes */
    if (last) v[14] = ~v[14];
    for (int round = 0; round < 12; round++) {
        const unsigned char *s = sigma[round % 10];
        winit_blake2b_mix(v, 0, 4, 8, 12, m[s[0]], m[s[1]]);
        winit_blake2b_mix(v, 1, 5, 9, 13, m[s[2]], m[s[3]]);
        winit_blake2b_mix(v, 2, 6, 10, 14, m[s[4]], m[s[5]]);
        winit_blake2b_mix(v, 3, 7, 11, 15, m[s[6]], m[s[7]]);
        winit_blake2b_mix(v, 0, 5, 10, 15, m[s[8]], m[s[9]]);
        winit_blake2b_mix(v, 1, 6, 11, 12, m[s[10]], m[s[11]]);
        winit_blake2b_mix(v, 2, 7, 8, 13, m[s[12]], m[s[13]]);
        winit_blake2b_mix(v, 3, 4, 9, 14, m[s[14]], m[s[15]]);
    }
    for (int i = 0; i < 8; i++) h[i] ^= v[i] ^ v[8 + i];
}

/* The key of the stream (seed, name), the name as `bytes` bytes of UTF-8, without a terminating zero. Any length; NULL
 * will do for none. Names are not normalised. */
static inline winit_key winit_key_of(uint64_t seed, const char *name, size_t bytes)
{
    static const uint64_t iv[8] = {0x6A09E667F3BCC908u, 0xBB67AE8584CAA73Bu, 0x3C6EF372FE94F82Bu, 0xA54FF53A5F1D36F1u,
                                   0x510E527FADE682D1u, 0x9B05688C2B3E6C1Fu, 0x1F83D9ABFB41BD6Bu, 0x5BE0CD19137E2179u};
    const uint64_t total = (uint64_t)bytes + 8;
    uint64_t h[8];
    winit_key key;
    for (int i = 0; i < 8; i++) h[i] = iv[i];
    h[0] ^= 0x01010008u;         /* digest of 8 bytes, no secret key, fanout 1, depth 1 */
    h[6] ^= 0x74732D74696E6977u; /* "winit-st" */
    h[7] ^= 0x0000312D6D616572u; /* "ream-1" */
    for (uint64_t start = 0; start < total; start += WINIT_BLAKE2B_BLOCK) {
        const uint64_t rest = total - start, end = rest < WINIT_BLAKE2B_BLOCK ? total : start + WINIT_BLAKE2B_BLOCK;
        uint64_t m[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
        if (start == 0) m[0] = seed;
        for (uint64_t i = start == 0 ? 8 : start; i < end; i++) {
            m[(i - start) / 8] |= (uint64_t)(unsigned char)name[i - 8] << (8 * (i % 8));
        }
        winit_blake2b_block(h, iv, m, end, end == total);
    }
    key.k0 = (uint32_t)h[0];
    key.k1 = (uint32_t)(h[0] >> 32);
    return key;
}

#endif
