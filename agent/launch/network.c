/*
 * The guest's network, before its program runs: the loopback interface, an address for the first Ethernet
 * interface (netdevice(7)), a route, and the files that name servers and hosts are looked up in (resolv.conf(5),
 * hosts(5)).
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <net/route.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "launch.h"
#include "network.h"

#define HOST_NAME_SIZE 65

static struct ifreq request_for(const char *interface) {
  struct ifreq request = {0};
  snprintf(request.ifr_name, sizeof request.ifr_name, "%s", interface);
  return request;
}

static int bring_up(int fd, const char *interface) {
  struct ifreq request = request_for(interface);
  if (ioctl(fd, SIOCGIFFLAGS, &request) < 0) return -1;
  request.ifr_flags |= IFF_UP;
  return ioctl(fd, SIOCSIFFLAGS, &request);
}

/* The first Ethernet interface and its address; 0 where there is none. */
static int find_ethernet(int fd, char name[IFNAMSIZ], uint8_t mac[6]) {
  int found = 0;
  struct if_nameindex *all = if_nameindex();
  for (struct if_nameindex *each = all; each != NULL && each->if_name != NULL && !found; each++) {
    struct ifreq request = request_for(each->if_name);
    if (ioctl(fd, SIOCGIFHWADDR, &request) < 0 || request.ifr_hwaddr.sa_family != ARPHRD_ETHER)
      continue;
    memcpy(name, request.ifr_name, IFNAMSIZ);
    memcpy(mac, request.ifr_hwaddr.sa_data, 6);
    found = 1;
  }
  if (all != NULL) if_freenameindex(all);
  return found;
}

static void set_address(int fd, const char *interface, unsigned long what, uint32_t address) {
  struct ifreq request = request_for(interface);
  struct sockaddr_in value = {.sin_family = AF_INET, .sin_addr.s_addr = address};
  memcpy(&request.ifr_addr, &value, sizeof value);
  if (ioctl(fd, what, &request) < 0) fail(interface);
}

static void add_default_route(int fd, uint32_t router) {
  struct sockaddr_in all = {.sin_family = AF_INET};
  struct sockaddr_in gateway = {.sin_family = AF_INET, .sin_addr.s_addr = router};
  struct rtentry route = {.rt_flags = RTF_UP | RTF_GATEWAY};
  memcpy(&route.rt_dst, &all, sizeof all);
  memcpy(&route.rt_genmask, &all, sizeof all);
  memcpy(&route.rt_gateway, &gateway, sizeof gateway);
  if (ioctl(fd, SIOCADDRT, &route) < 0) fail("default route");
}

static void use_lease(int fd, const char *interface, const struct lease *lease) {
  set_address(fd, interface, SIOCSIFADDR, lease->address);
  if (lease->mask != 0) set_address(fd, interface, SIOCSIFNETMASK, lease->mask);
  if (lease->mtu != 0) {
    struct ifreq request = request_for(interface);
    request.ifr_mtu = lease->mtu;
    if (ioctl(fd, SIOCSIFMTU, &request) < 0) fail(interface);
  }
  if (lease->router != 0) add_default_route(fd, lease->router);
}

/* Writes a file of the root anew; a link there may lead to what only a running system has. */
static void write_file(const char *path, const char *text) {
  mkdir("/etc", 0755);
  unlink(path);
  int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (fd < 0 || write(fd, text, strlen(text)) < 0) fail(path);
  close(fd);
}

static void name_servers(const struct lease *lease) {
  char text[512];
  int length = 0;
  if (lease->domain[0] != 0) length = snprintf(text, sizeof text, "search %s\n", lease->domain);
  struct in_addr server = {lease->dns};
  snprintf(text + length, sizeof text - length, "nameserver %s\n", inet_ntoa(server));
  write_file("/etc/resolv.conf", text);
}

/* Images of containers leave the file empty, for whoever runs them. */
static void name_this_host(void) {
  struct stat hosts;
  if (stat("/etc/hosts", &hosts) == 0 && hosts.st_size > 0) return;
  char name[HOST_NAME_SIZE];
  char text[256];
  gethostname(name, sizeof name);
  snprintf(text, sizeof text, "127.0.0.1\tlocalhost %s\n::1\tlocalhost ip6-localhost\n", name);
  write_file("/etc/hosts", text);
}

void connect_network(void) {
  name_this_host();
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  /* A kernel without a network has none to set up. */
  if (fd < 0) return;
  char interface[IFNAMSIZ];
  uint8_t mac[6];
  struct lease lease;
  bring_up(fd, "lo");
  if (find_ethernet(fd, interface, mac)) {
    if (bring_up(fd, interface) < 0) fail(interface);
    if (ask_for_lease(interface, mac, &lease)) {
      use_lease(fd, interface, &lease);
      if (lease.dns != 0) name_servers(&lease);
    } else {
      dprintf(STDERR_FILENO, "pando-launch: %s: no address by DHCP\n", interface);
    }
  }
  close(fd);
}
