/* The fault points of the C code, for tests: at the n-th from now, raise a signal (SIGKILL, SIGSTOP). */
#include <signal.h>

static int chosen;
static long left;

void fault_arm(long point, int signal_number)
{
    left = point;
    chosen = signal_number;
}

void fault_point(void)
{
    if (left > 0 && --left == 0)
        raise(chosen);
}
