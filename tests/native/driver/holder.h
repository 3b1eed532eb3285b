/* A process that stops inside a stripe of a segment that others use. */
#ifndef NATIVE_HOLDER_H
#define NATIVE_HOLDER_H

/* Attach to the segment in that file, made on the boot with that id (hexadecimal), join it as the last member and
 * stop in the middle of storing something, the stripe locked. Returns once it is let go on: 0 when it was stored. */
int hold_stripe(const char *file, const char *boot_id);

#endif
