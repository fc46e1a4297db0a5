/* The guest's network: network.c sets up what dhcp.c has asked for. */
#ifndef PANDO_LAUNCH_NETWORK_H
#define PANDO_LAUNCH_NETWORK_H

#include <stdint.h>

/* Addresses in network byte order; 0 for what the server did not say. */
struct lease {
  uint32_t address, mask, router, dns, server;
  int mtu;
  /* As long as an option can be. */
  char domain[256];
};

/* Asks on an interface that is up and has no address; 0, with errno, where nobody answers. */
int ask_for_lease(const char *interface, const uint8_t mac[6], struct lease *lease);

#endif
