/* One test of a TestU01 battery on words or normals of winit.h; tools/battery.py compiles and calls this.
 *
 *     battery BATTERY TEST STREAM OUTPUT SEED      prints a line for each statistic: its p-value, a tab, its name
 *     battery bytes 0 STREAM OUTPUT SEED           writes words, of normals the first 32 bits of Φ, until nobody reads
 *
 * Streams: how what is tested is made of tensors. Every test begins at a place of its own. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <testu01/bbattery.h>
#include <testu01/swrite.h>
#include <testu01/unif01.h>

#include "winit.h"

enum { SEEDS = 1024, NAMES = 1000, MANY = 1000000 };

static winit_key *keys; /* of the tensors that take turns */
static uint64_t tensors, turn, place;

static void step(void)
{
    if (++turn == tensors) {
        turn = 0;
        place++;
    }
}

static unsigned int next_word(void)
{
    const uint32_t word = winit_word_at(keys[turn], WINIT_TAG_VALUES, place);
    step();
    return word;
}

/* One tensor's words, a block of four at a time. */
static unsigned int next_word_of_one(void)
{
    static winit_block block;
    if (place % 4 == 0) block = winit_block_at(keys[0], WINIT_TAG_VALUES, place / 4);
    return block.word[place++ % 4];
}

static double next_normal(void)
{
    const double z = winit_normal64_at(keys[turn], place);
    const double u = 0.5 * erfc(-z * 0.70710678118654752440);
    step();
    return u < 1 ? u : 1 - 0x1p-53;
}

static int write_bytes(int words)
{
    static uint32_t some[1 << 14];
    const size_t count = sizeof some / sizeof *some;
    do {
        for (size_t i = 0; i < count; i++) {
            some[i] = !words ? (uint32_t)(next_normal() * 0x1p32) : tensors == 1 ? next_word_of_one() : next_word();
        }
    } while (fwrite(some, sizeof *some, count, stdout) == count);
    return 0;
}

static void make_keys(const char *stream, uint64_t seed)
{
    char name[32] = "weight";
    if (strcmp(stream, "one") == 0) {
        tensors = 1;
    } else if (strcmp(stream, "seeds") == 0) {
        tensors = SEEDS;
    } else if (strcmp(stream, "names") == 0) {
        tensors = NAMES;
    } else if (strcmp(stream, "many") == 0) {
        tensors = MANY;
    } else {
        fprintf(stderr, "no stream %s: one, seeds, names or many\n", stream);
        exit(2);
    }
    keys = malloc(tensors * sizeof *keys);
    if (keys == NULL) exit(3);
    for (uint64_t i = 0; i < tensors; i++) {
        const int named = tensors == NAMES || tensors == MANY;
        if (named) snprintf(name, sizeof name, "layer.%llu", (unsigned long long)i);
        keys[i] = winit_key_of(named ? seed : seed * tensors + i, name, strlen(name));
    }
}

int main(int count, char **given)
{
    if (count != 6) return 2;
    const char *battery = given[1];
    const int test = atoi(given[2]), words = strcmp(given[4], "words") == 0;
    const uint64_t seed = strtoull(given[5], NULL, 10);
    int repeat[200] = {0};
    if (winit_check() != 0 || test < 0 || test >= 200) return 2;
    make_keys(given[3], seed);
    if (strcmp(battery, "bytes") == 0) return write_bytes(words);
    place = (uint64_t)test << 40;
    repeat[test] = 1;
    swrite_Basic = FALSE;
    if (freopen("/dev/null", "w", stdout) == NULL) return 3; /* the batteries print a summary of their own */
    unif01_Gen *generator =
        words ? unif01_CreateExternGenBits("winit", tensors == 1 ? next_word_of_one : next_word)
              : unif01_CreateExternGen01("winit", next_normal);
    if (strcmp(battery, "SmallCrush") == 0) {
        bbattery_RepeatSmallCrush(generator, repeat);
    } else if (strcmp(battery, "Crush") == 0) {
        bbattery_RepeatCrush(generator, repeat);
    } else if (strcmp(battery, "BigCrush") == 0) {
        bbattery_RepeatBigCrush(generator, repeat);
    } else {
        return 2;
    }
    for (int i = 0; i < bbattery_NTests; i++) fprintf(stderr, "%.17g\t%s\n", bbattery_pVal[i], bbattery_TestNames[i]);
    return 0;
}
