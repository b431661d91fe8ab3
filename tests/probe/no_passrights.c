/* Loaded into a listener: a kernel before Linux 6.16, which has no SO_PASSRIGHTS (83). */
#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

int setsockopt(int fd, int level, int name, const void *value, unsigned length)
{
    if (level == 1 && name == 83) {
        errno = ENOPROTOOPT;
        return -1;
    }
    return syscall(SYS_setsockopt, fd, level, name, value, length);
}
