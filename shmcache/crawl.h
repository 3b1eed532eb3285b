/* The crawler: looks at every entry in turn, so that what expired or was purged gives its room back although nobody
 * asks for it, and purges by rules can be forgotten. Every process may crawl; all share one position per stripe.
 */
#ifndef SHMCACHE_CRAWL_H
#define SHMCACHE_CRAWL_H

#include "segment.h"

struct crawled {
    uint32_t looked, expired, purged;
};

/* Look at up to `entries` more. Holds a stripe for some ten microseconds at a time and never waits for one. */
void crawl(struct shm *shm, int64_t now_ns, uint32_t entries, struct crawled *crawled);

#endif
