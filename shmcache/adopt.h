/* Taking over a segment whose processes are all dead: what was stored is kept, what they held is given back.
 *
 * A wild write, or a page of it lost, must cost entries, never a crash or a wrong body. So nothing that lies in
 * a region is believed before it was looked at:
 *
 *   locks, counts, queues, free lists, chunk bitmaps, hints    made anew; whatever they held is ignored
 *   page table       an owner or class that cannot be makes the page free
 *   entries          names must lie in pages of their stripe, lengths in the room these give, sums must agree;
 *                    else the entry is dropped, and rebuilding gives its room back
 *   index            a slot survives only if it names a live entry, where that entry's hash belongs
 *   ghosts, their clocks     hints: any pattern is harmless
 *   statistics       a count no edge can reach starts again at 0
 *   leases           all gone, their owners and waiters are dead
 *   buckets, windows     what would refuse its client for longer than any limit asks for is forgotten
 *   scores           all gone: no sum covers their words, and their writers find out anew within seconds
 *   purges           see below
 *
 * Purges. Marks (of tags, keys, rules, everything, hard and soft) and purge_epoch only rise, and a mark is never more
 * than one ahead of the epoch, which follows it. The sums of the marks, by which readers skip the search, are made
 * anew from them, and rules are kept until the crawler has once more been everywhere. A mark further ahead, or an epoch no edge can reach, is damage, and then nobody
 * can tell what was purged: the segment is refused. A mark one ahead is the purge of a process that died between
 * the two, and it is finished here; so an epoch that was set back by a flipped bit is put right as well, since
 * the mark of the last purge still shows it. An epoch set forward hides nothing and shows nothing. A mark set
 * back cannot be told from one never made: as in the living cache, that purge is forgotten. An entry born after
 * the last purge there ever was is dropped, or no later purge would reach it.
 *
 * Adopting may itself be killed anywhere: it is simply begun again.
 */
#ifndef SHMCACHE_ADOPT_H
#define SHMCACHE_ADOPT_H

#include "segment.h"

struct adopted {
    uint64_t objects; /* kept */
    uint64_t damaged; /* that the index named, but that were no longer sound */
    uint64_t fills;   /* half-made entries given back */
    uint64_t zombies; /* removed entries given back that only a pin had kept */
    uint64_t pins;    /* given back */
};

/* Make a segment just attached to sound, with no member in it. The caller promises that no other process
 * uses it, and joins afterwards. `verify`: compare the checksum of every body, which reads all of them.
 *
 * SEGMENT_OK; SEGMENT_BAD_PURGES, and then nothing was changed; SEGMENT_NO_MEMORY when the locks cannot be made.
 */
int segment_adopt(struct shm *shm, uint64_t now_ns, bool verify, struct adopted *adopted);

#endif
