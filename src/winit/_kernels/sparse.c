/* See sparse.h. */
#include <stdlib.h>
#include <string.h>

#include "winit/approx.h"
#include "sparse.h"

enum { FEW = 32, WORDS = 1024 };

typedef struct {
    uint32_t *words;
    uint64_t *taken; /* a bit for each input; unused where keep is small enough to look through */
    int64_t *picks;
} room;

static int make_room(const winit_sparse *s, room *r)
{
    const size_t keep = (size_t)s->keep, bits = keep > FEW ? (size_t)s->inputs / 64 + 1 : 0;
    r->words = malloc((keep > WORDS ? keep : WORDS) * sizeof *r->words);
    r->taken = calloc(bits ? bits : 1, sizeof *r->taken);
    r->picks = malloc((keep ? keep : 1) * sizeof *r->picks);
    if (r->words != NULL && r->taken != NULL && r->picks != NULL) return 0;
    free(r->words);
    free(r->taken);
    free(r->picks);
    return -1;
}

static void leave_room(room *r)
{
    free(r->words);
    free(r->taken);
    free(r->picks);
}

static int lowest_bit(uint64_t bits)
{
#if defined(__GNUC__)
    return __builtin_ctzll(bits);
#else
    int bit = 0;
    while ((bits >> bit & 1) == 0) bit++;
    return bit;
#endif
}

/* ---- a) picks --------------------------------------------------------------------------------------------------- */

/* Few picks below 2^31, in ascending order. Unless two draws are equal no pick is replaced, and each one's place is how
 * many are less: eight at once, without a branch. Returns 0 where two are equal. */
static int pick_few(const winit_sparse *s, const uint32_t *words, int64_t *picks)
{
    int32_t drawn[FEW], place[FEW];
    const int keep = (int)s->keep;
    const int32_t first = (int32_t)(s->inputs - s->keep);
    int32_t equal = 0;
    for (int i = 0; i < keep; i++) drawn[i] = (int32_t)((uint64_t)words[i] * (uint64_t)(first + i + 1) >> 32);
    for (int i = keep; i % 8 != 0; i++) drawn[i] = -1;
    for (int i = 0; i < keep; i += 8) {
        int32_t own[8], less[8] = {0}, same[8] = {0};
        memcpy(own, drawn + i, sizeof own);
        for (int q = 0; q < keep; q++) {
            for (int l = 0; l < 8; l++) {
                less[l] -= -(drawn[q] < own[l]);
                same[l] -= -(drawn[q] == own[l]);
            }
        }
        memcpy(place + i, less, sizeof less);
        for (int l = 0; l < 8; l++) equal += same[l];
    }
    if (equal != keep) return 0;
    for (int i = 0; i < keep; i++) picks[place[i]] = drawn[i];
    return 1;
}

static void pick(const winit_sparse *s, const uint32_t *words, room *r, int sorted)
{
    if (sorted && s->keep <= FEW && s->inputs < INT32_MAX && pick_few(s, words, r->picks)) return;
    const int64_t keep = s->keep;
    int64_t *picks = r->picks;
    for (int64_t i = 0; i < keep; i++) {
        const int64_t j = s->inputs - keep + i;
        int64_t t = (int64_t)((uint64_t)words[i] * (uint64_t)(j + 1) >> 32);
        if (keep <= FEW) {
            int taken = 0;
            for (int64_t q = 0; q < i; q++) taken |= picks[q] == t;
            t = taken ? j : t;
            if (sorted) { /* j is larger than all before it; t finds its place */
                int64_t q = i;
                for (; q > 0 && picks[q - 1] > t; q--) picks[q] = picks[q - 1];
                picks[q] = t;
                continue;
            }
        } else {
            if (r->taken[t >> 6] >> (t & 63) & 1) t = j;
            r->taken[t >> 6] |= (uint64_t)1 << (t & 63);
        }
        picks[i] = t;
    }
    if (keep <= FEW) return;
    if (sorted) { /* the bits are in order already */
        int64_t found = 0;
        for (int64_t word = 0; found < keep; word++) {
            uint64_t bits = r->taken[word];
            r->taken[word] = 0;
            for (; bits != 0; bits &= bits - 1) picks[found++] = word * 64 + lowest_bit(bits);
        }
    } else {
        for (int64_t i = 0; i < keep; i++) r->taken[picks[i] >> 6] = 0;
    }
}

/* ---- b) write --------------------------------------------------------------------------------------------------- */

typedef struct {
    uint64_t flat[WINIT_SCATTER];
    char *to[WINIT_SCATTER];
    size_t count;
} batch;

static void flush(const winit_sparse *s, batch *b)
{
    union {
        float single[WINIT_SCATTER];
        double wide[WINIT_SCATTER];
    } v;
    memset(b->flat + b->count, 0, (WINIT_SCATTER - b->count) * sizeof *b->flat);
    s->table->normals_at(s->key, b->flat, b->count, s->params, s->dtype == WINIT_F64, &v);
    for (size_t i = 0; i < b->count; i++) {
        if (s->dtype == WINIT_F64) {
            double old, value = v.wide[i];
            memcpy(&old, b->to[i], sizeof old);
            if (s->adding) value = old + s->scale * value;
            memcpy(b->to[i], &value, sizeof value);
        } else if (s->dtype == WINIT_F32) {
            float old, value = v.single[i];
            memcpy(&old, b->to[i], sizeof old);
            if (s->adding) value = old + (float)s->scale * value;
            memcpy(b->to[i], &value, sizeof value);
        } else if (s->dtype == WINIT_F16 || s->dtype == WINIT_BF16) {
            const int bf16 = s->dtype == WINIT_BF16;
            uint16_t half;
            float value = v.single[i];
            memcpy(&half, b->to[i], sizeof half);
            if (s->adding) value = (bf16 ? winit_widen_bf16(half) : winit_widen_f16(half)) + (float)s->scale * value;
            half = bf16 ? winit_round_bf16(value) : winit_round_f16(value);
            memcpy(b->to[i], &half, sizeof half);
        } else {
            const int e4m3 = s->dtype == WINIT_F8E4M3;
            uint8_t word;
            float value = v.single[i];
            memcpy(&word, b->to[i], sizeof word);
            if (s->adding) {
                value = (e4m3 ? winit_widen_f8e4m3(word) : winit_widen_f8e5m2(word)) + (float)s->scale * value;
            }
            word = e4m3 ? winit_round_f8e4m3(value) : winit_round_f8e5m2(value);
            memcpy(b->to[i], &word, sizeof word);
        }
    }
    b->count = 0;
}

/* ---- c) walk ---------------------------------------------------------------------------------------------------- */

int winit_sparse_write(const winit_sparse *s, int64_t lo, int64_t count)
{
    int64_t at[WINIT_MAX_AXES], from[WINIT_MAX_AXES], to[WINIT_MAX_AXES];
    int units[WINIT_MAX_AXES], ins[WINIT_MAX_AXES], unit_axes = 0, in_axes = 0;
    room r;
    batch b;
    b.count = 0;
    if (count <= 0 || s->keep == 0) return 0;
    for (int axis = 0; axis < s->axes; axis++) {
        if (s->size[axis] == 0) return 0;
        from[axis] = s->begin[axis];
        to[axis] = s->begin[axis] + s->size[axis];
        if (s->unit[axis]) {
            units[unit_axes++] = axis;
        } else {
            ins[in_axes++] = axis;
        }
    }
    if (unit_axes > 0 && units[0] == 0) { /* units that the positions reach */
        from[0] = s->begin[0] + lo / s->position[0];
        to[0] = s->begin[0] + (lo + (count - 1)) / s->position[0] + 1;
    }
    if (make_room(s, &r) != 0) return -1;
    for (int q = 0; q < unit_axes; q++) at[units[q]] = from[units[q]];
    const int last = unit_axes > 0 ? units[unit_axes - 1] : -1;
    const int64_t at_once = s->keep < WORDS ? WORDS / s->keep : 1;
    int64_t ready = 0, used = 0; /* units whose words are there, and how many of them are done */
    for (;;) {
        int64_t unit = 0, flat = 0, position = 0;
        size_t offset = 0;
        for (int q = 0; q < unit_axes; q++) {
            const int axis = units[q];
            unit = unit * s->extent[axis] + at[axis];
            flat += at[axis] * s->step[axis];
            position += (at[axis] - s->begin[axis]) * s->position[axis];
            offset += (size_t)(at[axis] - s->begin[axis]) * s->stride[axis];
        }
        if (used == ready) {
            const int64_t left = last < 0 ? 1 : to[last] - at[last];
            ready = left < at_once ? left : at_once;
            used = 0;
            s->table->words(s->key, WINIT_TAG_POSITIONS, (uint64_t)unit * (uint64_t)s->keep,
                            (size_t)(ready * s->keep), r.words);
        }
        pick(s, r.words + used * s->keep, &r, 0);
        used++;
        for (int64_t i = 0; i < s->keep; i++) {
            int64_t rest = r.picks[i], element = flat, place = position;
            size_t address = offset;
            int inside = 1;
            for (int q = in_axes - 1; q >= 0; q--) {
                const int axis = ins[q];
                const int64_t index = in_axes > 1 ? rest % s->extent[axis] : rest, local = index - s->begin[axis];
                if (in_axes > 1) rest /= s->extent[axis];
                inside &= local >= 0 && local < s->size[axis];
                element += index * s->step[axis];
                place += local * s->position[axis];
                address += (size_t)local * s->stride[axis];
            }
            if (!inside || place < lo || place - lo >= count) continue;
            b.flat[b.count] = (uint64_t)element;
            b.to[b.count] = (char *)((uintptr_t)s->dest + address);
            if (++b.count == WINIT_SCATTER) flush(s, &b);
        }
        int q = unit_axes - 1;
        for (; q >= 0; q--) { /* on to the next unit */
            const int axis = units[q];
            if (++at[axis] < to[axis]) break;
            at[axis] = from[axis];
        }
        if (q < 0) break;
    }
    flush(s, &b);
    leave_room(&r);
    return 0;
}

int winit_sparse_rows(const winit_sparse *s, int64_t first, int64_t last, int64_t unit_step, int64_t input_step,
                      int wide, void *inputs, void *values)
{
    const size_t size = s->dtype == WINIT_F64 ? 8 : 4;
    const int64_t keep = s->keep, at_once = keep < WORDS ? WORDS / (keep ? keep : 1) : 1;
    uint64_t flat[WINIT_SCATTER];
    double drawn[WINIT_SCATTER]; /* or as many floats */
    size_t count = 0;
    char *to = values;
    room r;
    if (make_room(s, &r) != 0) return -1;
    for (int64_t unit = first; unit < last; unit++) {
        const int64_t used = (unit - first) % at_once, left = last - unit, start = (unit - first) * keep;
        if (used == 0) {
            s->table->words(s->key, WINIT_TAG_POSITIONS, (uint64_t)unit * (uint64_t)keep,
                            (size_t)((left < at_once ? left : at_once) * keep), r.words);
        }
        pick(s, r.words + used * keep, &r, 1);
        const int64_t *const picks = r.picks;
        if (wide) {
            memcpy((int64_t *)inputs + start, picks, (size_t)keep * sizeof *picks);
        } else {
            int32_t *const narrow = (int32_t *)inputs + start;
            for (int64_t i = 0; i < keep; i++) narrow[i] = (int32_t)picks[i];
        }
        for (int64_t i = 0; i < keep;) {
            const int64_t room_left = WINIT_SCATTER - (int64_t)count, some = keep - i < room_left ? keep - i : room_left;
            const uint64_t base = (uint64_t)(unit * unit_step);
            for (int64_t q = 0; q < some; q++) flat[count + q] = base + (uint64_t)(picks[i + q] * input_step);
            i += some;
            count += (size_t)some;
            if (count < WINIT_SCATTER && (i < keep || unit + 1 < last)) continue;
            memset(flat + count, 0, (WINIT_SCATTER - count) * sizeof *flat);
            s->table->normals_at(s->key, flat, count, s->params, s->dtype == WINIT_F64, drawn);
            memcpy(to, drawn, count * size);
            to += count * size;
            count = 0;
        }
    }
    leave_room(&r);
    return 0;
}
