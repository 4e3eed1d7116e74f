#include <signal.h>
#include <stddef.h>

#ifdef __linux__
/* Of early.c, which programs that use the library are not linked with. */
extern sigset_t arcrun_blocked __attribute__((weak));
#endif

void arcrun_unblock_signals(void) {
#ifdef __linux__
    if (&arcrun_blocked != NULL) sigprocmask(SIG_UNBLOCK, &arcrun_blocked, NULL);
#endif
}
