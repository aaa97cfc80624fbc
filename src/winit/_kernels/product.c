/* How a product is cut into tasks, and the memory it takes: the same for every instruction set. */
#include <stdlib.h>
#include <string.h>
#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "dense_table.h"

enum {
    SLAB_ROWS = 1024,   /* a slab of float32 is then 1.5 MB, read once per block of columns from the third-level cache */
    HUGE_PAGE = 1 << 21,
    PIECE = 64,         /* rows packed by one task */
    BLOCK_COLUMNS = 256 /* a multiple of 64, the columns of one group of statistics */
};

static ptrdiff_t ceil_div(ptrdiff_t a, ptrdiff_t b) { return a / b + (a % b != 0); }

void winit_product_plan(winit_product *p, const winit_dense_table *table)
{
    const ptrdiff_t size = p->type == WINIT_REAL_F32 ? 4 : 8, threads = p->threads;
    const ptrdiff_t each = threads > 1 ? 4 * threads : 1;
    const ptrdiff_t m_blocks = ceil_div(p->m, SLAB_ROWS);
    ptrdiff_t tiles;
    p->k_blocks = ceil_div(p->k, WINIT_KC);
    p->mc = ceil_div(ceil_div(p->m, m_blocks), PIECE) * PIECE;
    p->m_blocks = ceil_div(p->m, p->mc);
    p->nc = ceil_div(ceil_div(p->n, each), 64) * 64;
    if (p->nc > BLOCK_COLUMNS) p->nc = BLOCK_COLUMNS;
    p->n_blocks = ceil_div(p->n, p->nc);
    tiles = ceil_div(p->mc < p->m ? p->mc : p->m, table->tile_rows[p->type]);
    p->splits = ceil_div(each, p->n_blocks);
    if (p->splits > tiles) p->splits = tiles;
    p->pieces = p->mc / PIECE;
    p->slabs = (int64_t)p->m_blocks * p->k_blocks;
    p->tasks = p->slabs * (p->pieces + (int64_t)p->n_blocks * p->splits);
    p->buffers = p->slabs < 3 ? (int)p->slabs : 3;
    p->slab_bytes = (size_t)p->mc * WINIT_KC * size;
    p->work_bytes = (size_t)WINIT_KC * p->nc * size * 2; /* a block of B as panels, and as made */
}

int winit_product_begin(winit_product *p)
{
    const size_t counters = (size_t)p->slabs * 2 + (size_t)p->m_blocks * p->n_blocks * p->splits;
    const size_t slabs = p->slab_bytes * p->buffers, works = p->work_bytes * p->threads;
    const size_t bytes = 64 + slabs + works + counters * sizeof(int64_t) + p->threads * sizeof(int);
    p->memory = NULL;
#if defined(__linux__)
    if (bytes >= HUGE_PAGE) { /* in pages of 2 MiB: the 1300 faults of small ones took 2% of a product's time */
        if (posix_memalign((void **)&p->memory, HUGE_PAGE, (bytes + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE) != 0) return -1;
        (void)madvise(p->memory, bytes, MADV_HUGEPAGE);
    }
#endif
    if (p->memory == NULL) p->memory = malloc(bytes);
    if (p->memory == NULL) return -1;
    p->slab = p->memory + (64 - (uintptr_t)p->memory % 64);
    p->work = p->slab + slabs;
    p->packed = (_Atomic int64_t *)(p->work + works);
    p->multiplied = p->packed + p->slabs;
    p->progress = p->multiplied + p->slabs;
    p->busy = (_Atomic int *)(p->packed + counters);
    memset((void *)p->packed, 0, counters * sizeof(int64_t) + p->threads * sizeof(int));
    atomic_init(&p->next, 0);
    return 0;
}

void winit_product_end(winit_product *p)
{
    free(p->memory);
    p->memory = NULL;
}
