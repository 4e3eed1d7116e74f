/* Linked into the program alone, and run before the initialisers of the shared libraries, of which
   libtorch's take a tenth of a second and more: a signal that asks for a stop meanwhile waits until the
   program listens, where by default it would end it without a word. */

#include <signal.h>
#include <stddef.h>

/* Those that were not blocked before; `arcrun_unblock_signals` lets them through. */
sigset_t arcrun_blocked;

static void block(int argc, char **argv, char **environment) {
    (void)argc, (void)argv, (void)environment;
    static const int signals[] = {SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
    sigset_t before;
    sigemptyset(&arcrun_blocked);
    if (sigprocmask(SIG_BLOCK, NULL, &before) != 0) return;
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        if (!sigismember(&before, signals[i])) sigaddset(&arcrun_blocked, signals[i]);
    sigprocmask(SIG_BLOCK, &arcrun_blocked, NULL);
}

__attribute__((section(".preinit_array"), used)) static void (*const early)(int, char **, char **) =
    block;
