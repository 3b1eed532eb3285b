/* Leases: the right to fetch, one owner per key, and a bell for those who wait for its end.
 *
 * A cell is one cache line: the key's 64-bit hash and a word {generation 32 | epoch 16 | member 8 | state 8},
 * claimed together by one 16-byte compare-and-swap, the deadline, the members that wait, and when it ended.
 *
 *     FREE or ENDED --claim--> CLAIMING --settle--> RUNNING --release, take-over--> ENDED
 *                                  \--withdraw--------------------------------------/^
 *
 * Only the owner leaves CLAIMING, and only while it is there does it write the deadline; so a deadline is read
 * in RUNNING alone and belongs to it. Whoever dies in either state is found by `lease_reap`. An ended cell keeps
 * its ending until it is claimed again, and the one that ended longest ago goes first; a ticket is {generation
 * | cell}, so a reused cell is never mistaken for the lease that was asked about.
 *
 * Why a key never has two running leases. A claimer looks at its whole bucket once more after its swap, and
 * withdraws if another live lease (CLAIMING or RUNNING) has the same key. Of two claimers the later one looks
 * after both swaps, so it sees the other and withdraws. Two that see each other both withdraw and start again.
 *
 * Why no wake-up is lost. A waiter sets its bit and then reads the word again; an ender changes the word and
 * then takes the bits. One of them comes second and sees the other. Bits that an ender takes late, after the
 * cell began a new life, are rung too early; so whoever is rung asks `lease_ending` about all its tickets, and
 * PENDING sets the bit again. An ender that dies before it rang is made good by `lease_reap`, which rings all.
 *
 * Two keys whose hashes are equal share a lease; the waiter then looks up, finds nothing and claims again.
 */
#ifndef SHMCACHE_LEASE_H
#define SHMCACHE_LEASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LEASE_MEMBERS 64
#define LEASE_WAYS 4

enum lease_answer { LEASE_CLAIMED, LEASE_WAIT, LEASE_FULL };

enum lease_ending {
    LEASE_PENDING,      /* still running */
    LEASE_PUBLISHED,    /* an entry was stored */
    LEASE_NOT_STORABLE, /* the response may not be shared */
    LEASE_FAILED,       /* the fetch failed */
    LEASE_OWNER_DIED,   /* reaped */
    LEASE_TOO_SLOW,     /* its deadline passed */
    LEASE_UNKNOWN       /* withdrawn, or the cell was reused: claim again */
};

/* One process's view; lies in its own memory. */
struct lease_table {
    void *region;
    size_t cells;         /* power of two, at least LEASE_WAYS */
    const int *doorbells; /* LEASE_MEMBERS eventfds (non-blocking), -1 for none; NULL when nobody waits */
    int member;           /* -1: not joined, may only ask and reap */
    uint32_t epoch;       /* its low 16 bits count */
    uint64_t taken_over;  /* leases this process ended as TOO_SLOW */
};

/* Bytes of a region of that many cells; it must be 64-byte aligned. */
size_t lease_region_bytes(size_t cells);

/* Lay out a region: no lease ever held, which is the same as all bytes zero. */
void lease_init(void *region, size_t cells);

/* Claim the key with that hash until now_ns + lease_ns.
 *
 * CLAIMED: the caller fetches and must release the ticket. WAIT: the ticket is another's lease and the caller's
 * doorbell rings at its end. FULL: no room in the bucket, ticket 0. A lease past its deadline is ended as
 * TOO_SLOW, when its key or its cell is wanted. A member that claims a key it owns waits for itself.
 */
enum lease_answer lease_claim(struct lease_table *table, uint64_t hash, uint64_t now_ns, uint64_t lease_ns,
                              uint64_t *ticket);

/* How that lease ended. PENDING: the caller's doorbell will ring (again). Ticket 0 and nonsense: UNKNOWN. */
enum lease_ending lease_ending(struct lease_table *table, uint64_t ticket, uint64_t now_ns);

/* End the lease and ring its waiters. False, and nothing done, when it is no longer the caller's. */
bool lease_release(struct lease_table *table, uint64_t ticket, enum lease_ending ending);

/* End the leases of a dead process (`member` up to and including `epoch`) as OWNER_DIED, clear its waiting
 * bits, ring everybody; how many leases it held. Idempotent, so a reaper that dies inside is simply repeated.
 */
size_t lease_reap(struct lease_table *table, int member, uint32_t epoch);

#endif
bool lease_announce(struct lease_table *t, uint64_t k, uint64_t n);
bool lease_note(struct lease_table *t, uint64_t k, uint64_t *n);
bool lease_progress(struct lease_table *t, uint64_t k);
