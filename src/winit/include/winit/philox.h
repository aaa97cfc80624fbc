/* Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC11) and the map from
 * word numbers to counters. C99 and C++, no state, no allocation, no Python.
 *
 * Word i of a stream is lane (i & 3) of block (i >> 2). The counter of a block is (low word, high word, tag, 0). */
#ifndef WINIT_PHILOX_H
#define WINIT_PHILOX_H

#include <stdint.h>

#define WINIT_STREAM_VERSION 1

/* Tags keep the purposes of one key apart; docs/streams.md lists them. */
#define WINIT_TAG_VALUES 0u
#define WINIT_TAG_POSITIONS 1u

#define WINIT_PHILOX_M0 0xD2511F53u
#define WINIT_PHILOX_M1 0xCD9E8D57u
#define WINIT_PHILOX_W0 0x9E3779B9u
#define WINIT_PHILOX_W1 0xBB67AE85u
#define WINIT_PHILOX_ROUNDS 10

typedef struct winit_key {
    uint32_t k0, k1;
} winit_key;

typedef struct winit_block {
    uint32_t word[4];
} winit_block;

static inline winit_block winit_philox4x32(winit_block counter, winit_key key)
{
    winit_block c = counter;
    for (int round = 0; round < WINIT_PHILOX_ROUNDS; round++) {
        const uint64_t p0 = (uint64_t)WINIT_PHILOX_M0 * c.word[0];
        const uint64_t p1 = (uint64_t)WINIT_PHILOX_M1 * c.word[2];
        c.word[0] = (uint32_t)(p1 >> 32) ^ c.word[1] ^ key.k0;
        c.word[1] = (uint32_t)p1;
        c.word[2] = (uint32_t)(p0 >> 32) ^ c.word[3] ^ key.k1;
        c.word[3] = (uint32_t)p0;
        key.k0 += WINIT_PHILOX_W0;
        key.k1 += WINIT_PHILOX_W1;
    }
    return c;
}

/* Block number `block` (0 <= block < 2^64) of the stream (key, tag). */
static inline winit_block winit_block_at(winit_key key, uint32_t tag, uint64_t block)
{
    winit_block counter;
    counter.word[0] = (uint32_t)block;
    counter.word[1] = (uint32_t)(block >> 32);
    counter.word[2] = tag;
    counter.word[3] = 0;
    return winit_philox4x32(counter, key);
}

static inline uint32_t winit_word_at(winit_key key, uint32_t tag, uint64_t i)
{
    return winit_block_at(key, tag, i >> 2).word[i & 3];
}

#endif
