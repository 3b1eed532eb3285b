/* Leases: the right to fetch, one owner per key, and a bell for those who wait for its end.
 *
 * A cell is one cache line: the key's 64-bit hash and a word {generation 32 | epoch 16 | member 8 | state 8},
 * claimed together by one 16-byte compare-and-swap, the members that wait, when it ended, and two values of the
 * owner's: the deadline and a note to those who wait.
 *
 *     FREE or ENDED --claim--> CLAIMING --settle--> RUNNING --release, take-over--> ENDED
 *                                  \--withdraw--------------------------------------/^
 *
 * Only the owner leaves CLAIMING, and not before it has written the deadline; so a deadline is read in RUNNING
 * alone and belongs to it. Whoever dies in either state is found by `lease_reap`. An ended cell keeps its ending
 * until it is claimed again, and the one that ended longest ago goes first; a ticket is {generation | cell}, so
 * a reused cell is never mistaken for the lease that was asked about.
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
 * Progress is told without an end: the owner makes it visible (bytes of an entry, a note) and then takes the
 * bits. A waiter sets its bit and then looks, at the ending and at what progressed. If its bit was taken it is
 * rung; if it came too late to be taken, the taking came before the look, and so did the progress.
 *
 * Why a late owner cannot touch the next lease of its cell. A value carries the generation it was written for,
 * and both are swapped together from what was seen before the word was found to be the writer's own. If the cell
 * has begun a new life since, either the new owner has written its value, and the swap fails; or it has not, and
 * it will write over what it finds. A note of another generation is none, so a new claim need not clear it.
 *
 * Why renewing is safe beside those who find the lease overdue. A lease is ended as TOO_SLOW by who read its
 * clock after the deadline, then that deadline, then the same word. A renewal whose clock is past the deadline is
 * refused. So the two meet only when the owner was held up between reading its clock and its swap: the lease is
 * then ended all the same, as for any slow owner, whose next renewal, note or release is void and says so. What
 * is stored does not depend on leases: two owners cost a fetch too many, never a wrong byte.
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
    void *statistics;     /* region of counter.h, where what this process claims and ends is counted */
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

/* Lengthen the lease until now_ns + lease_ns; never shortens it. False when it is no longer the caller's or past
 * its deadline: then others may be fetching.
 */
bool lease_renew(struct lease_table *table, uint64_t ticket, uint64_t now_ns, uint64_t lease_ns);

/* Leave a note for those who hold the ticket, in the place of an older one. False, and nothing said, when the
 * lease is no longer the caller's. Rings nobody: `lease_progress` does.
 */
bool lease_announce(struct lease_table *table, uint64_t ticket, uint64_t note);

/* The owner's note. False when there is none: nothing announced, the lease ended other than as PUBLISHED, or its
 * cell was reused. Anyone may ask.
 */
bool lease_note(const struct lease_table *table, uint64_t ticket, uint64_t *note);

/* Ring the members that wait and take their bits: each is told once, and again after it asked `lease_ending`.
 * What progressed must be visible before. False, and nobody rung, when the lease is no longer the caller's.
 */
bool lease_progress(struct lease_table *table, uint64_t ticket);

/* End the lease and ring its waiters. False, and nothing done, when it is no longer the caller's. */
bool lease_release(struct lease_table *table, uint64_t ticket, enum lease_ending ending);

/* End the leases of a dead process (`member` up to and including `epoch`) as OWNER_DIED, clear its waiting
 * bits, ring everybody; how many leases it held. Idempotent, so a reaper that dies inside is simply repeated.
 */
size_t lease_reap(struct lease_table *table, int member, uint32_t epoch);

#endif
