/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * --listen=ADDRESS, for running a service without systemd
 */

#include <arpa/inet.h>
#include <assert.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "libmam/service/service-internal.h"

typedef union Address {
        struct sockaddr any;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
        struct sockaddr_un un;
} Address;

static int parse_unix(const char *path, Address *ret, socklen_t *ret_size) {
        Address a = { .un.sun_family = AF_UNIX };

        if (strlen(path) >= sizeof(a.un.sun_path))
                return -ENAMETOOLONG;
        (void) strcpy(a.un.sun_path, path);
        *ret = a;
        *ret_size = sizeof(a.un);
        return 0;
}

/* "127.0.0.1:8080" or "[::1]:8080"; names are not resolved */
static int parse_inet(const char *text, Address *ret, socklen_t *ret_size) {
        const char *colon = strrchr(text, ':');
        char host[INET6_ADDRSTRLEN + 2], *end;
        Address a = { 0 };
        unsigned long port;
        size_t size;

        if (!colon || colon == text || (size_t) (colon - text) >= sizeof(host))
                return -EINVAL;
        if (colon[1] < '0' || colon[1] > '9')
                return -EINVAL;
        port = strtoul(colon + 1, &end, 10);
        if (*end != '\0' || port > UINT16_MAX)
                return -EINVAL;

        size = (size_t) (colon - text);
        memcpy(host, text, size);
        host[size] = '\0';
        if (host[0] == '[' && host[size - 1] == ']') {
                host[size - 1] = '\0';
                a.in6.sin6_family = AF_INET6;
                a.in6.sin6_port = htons((uint16_t) port);
                if (inet_pton(AF_INET6, host + 1, &a.in6.sin6_addr) != 1)
                        return -EINVAL;
                *ret_size = sizeof(a.in6);
        } else {
                a.in.sin_family = AF_INET;
                a.in.sin_port = htons((uint16_t) port);
                if (inet_pton(AF_INET, host, &a.in.sin_addr) != 1)
                        return -EINVAL;
                *ret_size = sizeof(a.in);
        }
        *ret = a;
        return 0;
}

int mam_service_open_listener(const char *address) {
        _cleanup_(mam_closep) int fd = -EBADF;
        socklen_t size = 0;
        Address a;
        int r;

        assert(address);

        if (strncmp(address, "unix:", 5) == 0)
                r = parse_unix(address + 5, &a, &size);
        else if (address[0] == '/')
                r = parse_unix(address, &a, &size);
        else
                r = parse_inet(address, &a, &size);
        if (r < 0)
                return r;

        fd = socket(a.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return -errno;
        if (a.any.sa_family != AF_UNIX &&
            setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int)) < 0)
                return -errno;
        if (bind(fd, &a.any, size) < 0)
                return -errno;
        if (listen(fd, SOMAXCONN) < 0)
                return -errno;
        return MAM_TAKE_FD(fd);
}
