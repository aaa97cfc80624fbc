/* Normals at any flat indices: sample.h's transforms over blocks that do not follow one another. Compiled with it, once
 * per instruction set. */

/* The words of each index's pair: float32, words 2 (i >> 1) and the next; float64, two 53-bit integers. */
WINIT_INLINE void scattered_words(winit_key key, const uint64_t *flat, size_t count, int wide, uint32_t *a, uint32_t *b,
                                  uint64_t *ka, uint64_t *kb)
{
    size_t i = 0;
#ifdef LANES
    const lanes m0 = spread(WINIT_PHILOX_M0), m1 = spread(WINIT_PHILOX_M1), low = spread(0xFFFFFFFFu);
    for (; i < count; i += LANES) { /* arrays have room for whole vectors */
        lanes index, c0, c1, c2 = spread(WINIT_TAG_VALUES), c3 = spread(0);
        memcpy(&index, flat + i, sizeof index);
        const lanes block = wide ? index >> 1 : index >> 2;
        c0 = block & low;
        c1 = block >> 32;
        for (uint32_t r = 0; r < WINIT_PHILOX_ROUNDS; r++) {
            const lanes p0 = mul32(m0, c0), p1 = mul32(m1, c2);
            c0 = (p1 >> 32) ^ c1 ^ spread(key.k0 + r * WINIT_PHILOX_W0);
            c2 = (p0 >> 32) ^ c3 ^ spread(key.k1 + r * WINIT_PHILOX_W1);
            c1 = p1 & low;
            c3 = p0 & low;
        }
        if (wide) {
            const lanes first = (c1 << 32 | c0) >> 11, other = (c3 << 32 | c2) >> 11;
            memcpy(ka + i, &first, sizeof first);
            memcpy(kb + i, &other, sizeof other);
        } else {
            const lanes upper = spread(0) - (index >> 1 & spread(1));
            const lanes first = (c2 & upper) | (c0 & ~upper), other = (c3 & upper) | (c1 & ~upper);
            for (int l = 0; l < LANES; l++) {
                a[i + l] = (uint32_t)first[l];
                b[i + l] = (uint32_t)other[l];
            }
        }
    }
#else
    for (; i < count; i++) {
        const winit_block w = winit_block_at(key, WINIT_TAG_VALUES, wide ? flat[i] >> 1 : flat[i] >> 2);
        const int at = wide ? 0 : (int)(flat[i] & 2);
        if (wide) {
            ka[i] = winit_k53(w.word[0], w.word[1]);
            kb[i] = winit_k53(w.word[2], w.word[3]);
        } else {
            a[i] = w.word[at];
            b[i] = w.word[at + 1];
        }
    }
#endif
}

/* mean + std z at up to SCATTER indices; flat has room for SCATTER, and v for SCATTER. */
WINIT_NOINLINE void work_normals_at(winit_key key, const uint64_t *restrict flat, size_t count, const double *params,
                                    int wide, void *restrict values)
{
    uint32_t a[WINIT_SCATTER], b[WINIT_SCATTER];
    uint64_t ka[WINIT_SCATTER], kb[WINIT_SCATTER];
    scattered_words(key, flat, count, wide, a, b, ka, kb);
    if (wide) {
        double square[WINIT_SCATTER], *restrict v = values;
        const double mean = params[0], std = params[1];
        for (size_t i = 0; i < count; i++) square[i] = winit_neg2log_k53_f64(ka[i]);
        for (size_t i = 0; i < count; i++) {
            double z0, z1;
            winit_normal_of_square_f64(square[i], kb[i], &z0, &z1);
            v[i] = mean + std * (flat[i] & 1 ? z1 : z0);
        }
    } else {
        float square[WINIT_SCATTER], *restrict v = values;
        uint32_t odd[WINIT_SCATTER];
        const float mean = (float)params[0], std = (float)params[1];
        for (size_t i = 0; i < count; i++) odd[i] = 0u - (uint32_t)(flat[i] & 1);
        for (size_t i = 0; i < count; i++) square[i] = winit_neg2log_word_f32(a[i]);
        for (size_t i = 0; i < count; i++) {
            float z0, z1;
            winit_normal_of_square_f32(square[i], b[i], &z0, &z1);
            const float z = winit_float_f32((winit_bits_f32(z1) & odd[i]) | (winit_bits_f32(z0) & ~odd[i]));
            v[i] = mean + std * z;
        }
    }
}

static void normals_at(winit_key key, const uint64_t *flat, size_t count, const double *params, int wide, void *values)
{
    const winit_float_mode saved = winit_default_float_mode();
    work_normals_at(key, flat, count, params, wide, values);
    winit_restore_float_mode(saved);
}
