/* How a product is cut into tasks, and the memory it takes: the same for every instruction set. */
#include <stdlib.h>
#include <string.h>
#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "dense_table.h"

enum {
    SLAB_ROWS = 1024, /* a slab of float32 is then 1.5 MB, read once per block of columns from the third-level cache */
    HUGE_PAGE = 1 << 21,
    KEPT = 1 << 23 /* bytes of a block kept between products, at most */
};

static ptrdiff_t ceil_div(ptrdiff_t a, ptrdiff_t b) { return a / b + (a % b != 0); }

void winit_product_plan(winit_product *p, const winit_dense_table *table)
{
    const ptrdiff_t size = p->type == WINIT_REAL_F32 ? 4 : 8, threads = p->threads;
    const ptrdiff_t each = threads > 1 ? 4 * threads : 1;
    const ptrdiff_t m_blocks = ceil_div(p->m, SLAB_ROWS);
    ptrdiff_t tiles;
    p->k_blocks = ceil_div(p->k, WINIT_KC);
    p->mc = ceil_div(ceil_div(p->m, m_blocks), WINIT_PIECE) * WINIT_PIECE;
    p->m_blocks = ceil_div(p->m, p->mc);
    p->nc = ceil_div(ceil_div(p->n, each), WINIT_GROUP) * WINIT_GROUP;
    if (p->nc > WINIT_BLOCK_COLUMNS) p->nc = WINIT_BLOCK_COLUMNS;
    p->n_blocks = ceil_div(p->n, p->nc);
    tiles = ceil_div(p->mc < p->m ? p->mc : p->m, table->tile_rows);
    p->splits = ceil_div(each, p->n_blocks);
    if (p->splits > tiles) p->splits = tiles;
    p->pieces = p->mc / WINIT_PIECE;
    p->slabs = (int64_t)p->m_blocks * p->k_blocks;
    p->tasks = p->slabs * (p->pieces + (int64_t)p->n_blocks * p->splits);
    p->buffers = p->slabs < 3 ? (int)p->slabs : 3;
    p->slab_bytes = (size_t)p->mc * WINIT_KC * size;
    p->work_bytes = (size_t)WINIT_KC * p->nc * size * 2; /* a block of B as panels, and as made */
}

/* Memory between products: fresh pages are cleared by the system, which took 1 to 2% of a product's time. Two blocks,
 * since backward runs two products at once; what does not fit or finds no place is freed. */
typedef struct {
    size_t bytes;
    char room[56];
} block_head;

static block_head *_Atomic idle[2];

static char *take_block(size_t bytes)
{
    block_head *block = NULL;
    bytes += sizeof *block;
    for (size_t i = 0; i < sizeof idle / sizeof *idle && block == NULL; i++) {
        block = atomic_exchange(&idle[i], NULL);
        if (block != NULL && block->bytes < bytes) {
            free(block);
            block = NULL;
        }
    }
    if (block != NULL) return (char *)(block + 1);
#if defined(__linux__)
    if (bytes >= HUGE_PAGE) { /* in pages of 2 MiB: small ones meant 1300 page faults a product */
        bytes = (bytes + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
        if (posix_memalign((void **)&block, HUGE_PAGE, bytes) != 0) return NULL;
        (void)madvise(block, bytes, MADV_HUGEPAGE);
    }
#endif
    if (block == NULL) block = malloc(bytes);
    if (block == NULL) return NULL;
    block->bytes = bytes;
    return (char *)(block + 1);
}

static void give_block(char *memory)
{
    block_head *block = memory == NULL ? NULL : (block_head *)memory - 1;
    for (size_t i = 0; block != NULL && block->bytes <= KEPT && i < sizeof idle / sizeof *idle; i++) {
        block_head *none = NULL;
        if (atomic_compare_exchange_strong(&idle[i], &none, block)) return;
    }
    free(block);
}

int winit_product_begin(winit_product *p)
{
    const size_t blocks = (size_t)p->m_blocks * p->n_blocks * p->splits, counters = (size_t)p->slabs * 2 + blocks * 3;
    const size_t slabs = p->slab_bytes * p->buffers, works = p->work_bytes * p->threads;
    p->memory = take_block(64 + slabs + works + counters * sizeof(int64_t) + p->threads * sizeof(int));
    if (p->memory == NULL) return -1;
    p->slab = p->memory + (64 - (uintptr_t)p->memory % 64);
    p->work = p->slab + slabs;
    p->packed = (_Atomic int64_t *)(p->work + works);
    p->multiplied = p->packed + p->slabs;
    p->progress = p->multiplied + p->slabs;
    p->claimed = p->progress + blocks;
    p->owner = p->claimed + blocks;
    p->busy = (_Atomic int *)(p->packed + counters);
    memset((void *)p->packed, 0, counters * sizeof(int64_t) + p->threads * sizeof(int));
    atomic_init(&p->next, 0);
    return 0;
}

void winit_product_end(winit_product *p)
{
    give_block(p->memory);
    p->memory = NULL;
}
