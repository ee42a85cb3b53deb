// The floor under `netbench topo apply`: a bare rtnetlink loop that makes N namespaces, each with a veth made in place
// and enslaved to one bridge, an address, lo and eth0 up. No plan, no journal, no verification.
//
//     bench-topo-floor create N      bench-topo-floor destroy N
//
// Runs inside a private network and mount namespace; every message waits for its acknowledgment.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define GROUP 0x6e62

struct message {
    struct nlmsghdr header;
    char body[1024];
};

static void die(const char *what) {
    fprintf(stderr, "bench-topo-floor: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int open_netlink(void) {
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (fd < 0) die("netlink socket");
    return fd;
}

static void *start(struct message *m, int type, int flags, size_t size) {
    memset(m, 0, sizeof *m);
    m->header.nlmsg_len = NLMSG_LENGTH(size);
    m->header.nlmsg_type = type;
    m->header.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | flags;
    return NLMSG_DATA(&m->header);
}

static struct rtattr *add(struct message *m, int type, const void *data, size_t size) {
    struct rtattr *a = (struct rtattr *)((char *)m + NLMSG_ALIGN(m->header.nlmsg_len));
    a->rta_type = type;
    a->rta_len = RTA_LENGTH(size);
    if (size) memcpy(RTA_DATA(a), data, size);
    m->header.nlmsg_len = NLMSG_ALIGN(m->header.nlmsg_len) + RTA_ALIGN(a->rta_len);
    return a;
}

static void end(struct message *m, struct rtattr *a) {
    a->rta_len = (char *)m + NLMSG_ALIGN(m->header.nlmsg_len) - (char *)a;
}

static void call(int fd, struct message *m, const char *what) {
    static unsigned sequence;
    char answer[4096];
    m->header.nlmsg_seq = ++sequence;
    if (send(fd, m, m->header.nlmsg_len, 0) < 0) die(what);
    if (recv(fd, answer, sizeof answer, 0) < (ssize_t)sizeof(struct nlmsghdr)) die(what);
    struct nlmsghdr *h = (struct nlmsghdr *)answer;
    struct nlmsgerr *e = NLMSG_DATA(h);
    if (h->nlmsg_type != NLMSG_ERROR) {
        fprintf(stderr, "bench-topo-floor: %s: unexpected answer\n", what);
        exit(1);
    }
    if (e->error) {
        errno = -e->error;
        die(what);
    }
}

static void set_up(int fd, int index, const char *what) {
    struct message m;
    struct ifinfomsg *link = start(&m, RTM_NEWLINK, 0, sizeof *link);
    link->ifi_index = index;
    link->ifi_flags = link->ifi_change = IFF_UP;
    call(fd, &m, what);
}

static void add_bridge(int fd) {
    struct message m;
    struct ifinfomsg *link = start(&m, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, sizeof *link);
    unsigned group = GROUP;
    link->ifi_flags = link->ifi_change = IFF_UP;
    add(&m, IFLA_IFNAME, "floor0", 7);
    add(&m, IFLA_GROUP, &group, sizeof group);
    struct rtattr *info = add(&m, IFLA_LINKINFO, NULL, 0);
    add(&m, IFLA_INFO_KIND, "bridge", 6);
    end(&m, info);
    call(fd, &m, "add the bridge");
}

static void add_veth(int fd, int i, unsigned bridge, int netns) {
    struct message m;
    struct ifinfomsg *link = start(&m, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, sizeof *link), peer = {0};
    unsigned group = GROUP;
    char name[IFNAMSIZ];
    link->ifi_flags = link->ifi_change = IFF_UP;
    int length = snprintf(name, sizeof name, "f%d", i);
    add(&m, IFLA_IFNAME, name, length + 1);
    add(&m, IFLA_MASTER, &bridge, sizeof bridge);
    add(&m, IFLA_GROUP, &group, sizeof group);
    struct rtattr *info = add(&m, IFLA_LINKINFO, NULL, 0);
    add(&m, IFLA_INFO_KIND, "veth", 4);
    struct rtattr *data = add(&m, IFLA_INFO_DATA, NULL, 0);
    struct rtattr *other = add(&m, VETH_INFO_PEER, &peer, sizeof peer);
    add(&m, IFLA_IFNAME, "eth0", 5);
    add(&m, IFLA_NET_NS_FD, &netns, sizeof netns);
    end(&m, other);
    end(&m, data);
    end(&m, info);
    call(fd, &m, "add a veth");
}

static void add_address(int fd, int i, int index) {
    struct message m;
    struct ifaddrmsg *address = start(&m, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, sizeof *address);
    unsigned ip = htonl(0xc6120001u + i);
    address->ifa_family = AF_INET;
    address->ifa_prefixlen = 15;
    address->ifa_index = index;
    add(&m, IFA_LOCAL, &ip, sizeof ip);
    add(&m, IFA_ADDRESS, &ip, sizeof ip);
    call(fd, &m, "add an address");
}

static void create(int count) {
    int home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC), root = open_netlink();
    if (home < 0) die("own namespace");
    mkdir("/run/netns", 0755);
    add_bridge(root);
    unsigned bridge = if_nametoindex("floor0");
    for (int i = 0; i < count; i++) {
        char path[64];
        snprintf(path, sizeof path, "/run/netns/floor-%d", i);
        int file = open(path, O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444);
        if (file < 0) die(path);
        close(file);
        if (unshare(CLONE_NEWNET)) die("unshare");
        if (mount("/proc/thread-self/ns/net", path, NULL, MS_BIND, NULL)) die("bind a namespace");
        int netns = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC), inside = open_netlink();
        if (setns(home, CLONE_NEWNET)) die("setns");
        add_veth(root, i, bridge, netns);
        // In a new namespace lo has index 1 and the first link index 2.
        add_address(inside, i, 2);
        set_up(inside, 1, "lo up");
        set_up(inside, 2, "eth0 up");
        close(inside);
        close(netns);
    }
}

static void destroy(int count) {
    struct message m;
    unsigned group = GROUP;
    start(&m, RTM_DELLINK, 0, sizeof(struct ifinfomsg));
    add(&m, IFLA_GROUP, &group, sizeof group);
    call(open_netlink(), &m, "delete the group");
    for (int i = 0; i < count; i++) {
        char path[64];
        snprintf(path, sizeof path, "/run/netns/floor-%d", i);
        if (umount2(path, MNT_DETACH) || unlink(path)) die(path);
    }
}

int main(int argc, char **argv) {
    int count = argc == 3 ? atoi(argv[2]) : 0;
    if (count < 1 || count > 1023) {
        fprintf(stderr, "usage: bench-topo-floor create|destroy N\n");
        return 2;
    }
    if (!strcmp(argv[1], "create")) create(count);
    else if (!strcmp(argv[1], "destroy")) destroy(count);
    else return 2;
    return 0;
}
