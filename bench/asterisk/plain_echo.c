/* The least an AudioSocket server can do: every frame goes back as it came. What an agent adds is counted from here.
 *
 *   plain_echo PORT      on 127.0.0.1, one thread, until it is killed
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MOST 1024
#define UUID_FRAME 19

static struct pollfd fds[MOST];
static int skipped[MOST]; /* bytes of the first frame, which names the call and is not sent back */

int main(int count, char **words) {
    struct sockaddr_in where = {.sin_family = AF_INET, .sin_port = htons(count > 1 ? atoi(words[1]) : 0)};
    where.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int yes = 1, used = 1;
    char data[65536];
    fds[0].fd = socket(AF_INET, SOCK_STREAM, 0);
    fds[0].events = POLLIN;
    setsockopt(fds[0].fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(fds[0].fd, (struct sockaddr *)&where, sizeof where) || listen(fds[0].fd, 256)) {
        perror("plain_echo");
        return 1;
    }
    puts("ready");
    fflush(stdout);
    while (poll(fds, used, -1) > 0) {
        for (int n = used - 1; n > 0; n--) {
            if (!fds[n].revents)
                continue;
            ssize_t got = recv(fds[n].fd, data, sizeof data, 0);
            if (got > 0) {
                int skip = UUID_FRAME - skipped[n] < got ? UUID_FRAME - skipped[n] : (int)got;
                skipped[n] += skip;
                if (got == skip || send(fds[n].fd, data + skip, got - skip, MSG_NOSIGNAL) == got - skip)
                    continue;
            }
            close(fds[n].fd);
            used--;
            fds[n] = fds[used];
            skipped[n] = skipped[used];
        }
        if (fds[0].revents && used < MOST) {
            fds[used].fd = accept(fds[0].fd, NULL, NULL);
            fds[used].events = POLLIN;
            fds[used].revents = 0;
            skipped[used] = 0;
            setsockopt(fds[used].fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
            used++;
        }
    }
    return 0;
}
