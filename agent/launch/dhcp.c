/*
 * An address for the guest by DHCP (RFC 2131; options: RFC 2132). Pando's gateway gives each guest one for as
 * long as it lives, so a lease is asked for once.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <poll.h>
#include <stdint.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "launch.h"
#include "network.h"

#define SERVER_PORT 67
#define CLIENT_PORT 68
#define TRIES 10
#define WAIT_MS 1000

enum { BOOTREQUEST = 1, BOOTREPLY = 2, ETHERNET = 1, BROADCAST = 0x8000, COOKIE = 0x63825363 };
enum { DISCOVER = 1, OFFER = 2, REQUEST = 3, ACK = 5 };
enum {
  PAD = 0,
  SUBNET_MASK = 1,
  ROUTER = 3,
  DNS = 6,
  DOMAIN_NAME = 15,
  MTU = 26,
  REQUESTED_ADDRESS = 50,
  MESSAGE_TYPE = 53,
  SERVER = 54,
  PARAMETERS = 55,
  END = 255,
};

struct message {
  uint8_t op, type, length, hops;
  uint32_t transaction;
  uint16_t seconds, flags;
  uint32_t client, yours, next_server, relay;
  uint8_t hardware[16];
  char names[192];
  uint32_t cookie;
  uint8_t options[312];
} __attribute__((packed));

static uint8_t *add(uint8_t *at, uint8_t code, const void *bytes, uint8_t length) {
  at[0] = code;
  at[1] = length;
  memcpy(at + 2, bytes, length);
  return at + 2 + length;
}

static void send_request(int fd, uint8_t kind, uint32_t transaction, const uint8_t mac[6],
                         const struct lease *offer) {
  static const uint8_t wanted[] = {SUBNET_MASK, ROUTER, DNS, DOMAIN_NAME, MTU};
  /* Without an address the guest hears only what is sent to all. */
  struct message message = {
      .op = BOOTREQUEST, .type = ETHERNET, .length = 6, .transaction = transaction,
      .flags = htons(BROADCAST), .cookie = htonl(COOKIE)};
  memcpy(message.hardware, mac, 6);
  uint8_t *at = add(message.options, MESSAGE_TYPE, &kind, 1);
  if (kind == REQUEST) {
    at = add(at, REQUESTED_ADDRESS, &offer->address, 4);
    at = add(at, SERVER, &offer->server, 4);
  }
  at = add(at, PARAMETERS, wanted, sizeof wanted);
  *at = END;
  struct sockaddr_in all = {
      .sin_family = AF_INET, .sin_port = htons(SERVER_PORT), .sin_addr.s_addr = INADDR_BROADCAST};
  /* One that is lost is sent again. */
  sendto(fd, &message, sizeof message, 0, (struct sockaddr *)&all, sizeof all);
}

static void take_option(struct lease *lease, uint8_t code, const uint8_t *bytes, uint8_t length) {
  if (code == DOMAIN_NAME) {
    memcpy(lease->domain, bytes, length);
    lease->domain[length] = 0;
  } else if (code == MTU && length == 2) {
    lease->mtu = bytes[0] << 8 | bytes[1];
  } else if (length >= 4) {
    uint32_t *into = code == SUBNET_MASK ? &lease->mask
                     : code == ROUTER    ? &lease->router
                     : code == DNS       ? &lease->dns
                     : code == SERVER    ? &lease->server
                                         : NULL;
    if (into != NULL) memcpy(into, bytes, 4);
  }
}

/* The kind of an answer to this transaction; 0 for anything else. */
static int read_answer(const struct message *message, size_t size, uint32_t transaction,
                       struct lease *lease) {
  size_t header = sizeof *message - sizeof message->options;
  if (size < header || message->op != BOOTREPLY || message->transaction != transaction ||
      message->cookie != htonl(COOKIE))
    return 0;
  int kind = 0;
  *lease = (struct lease){.address = message->yours};
  const uint8_t *end = message->options + (size - header);
  for (const uint8_t *at = message->options; at < end && *at != END;) {
    if (*at == PAD) {
      at++;
      continue;
    }
    if (end - at < 2 || end - at < 2 + at[1]) return 0;
    if (at[0] == MESSAGE_TYPE && at[1] == 1) kind = at[2];
    else take_option(lease, at[0], at + 2, at[1]);
    at += 2 + at[1];
  }
  return kind;
}

int ask_for_lease(const char *interface, const uint8_t mac[6], struct lease *lease) {
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(CLIENT_PORT)};
  int on = 1;
  if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_BROADCAST, &on, sizeof on) < 0 ||
      setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, interface, strlen(interface)) < 0 ||
      bind(fd, (struct sockaddr *)&here, sizeof here) < 0)
    fail("DHCP");
  uint32_t transaction = 0;
  getrandom(&transaction, sizeof transaction, GRND_NONBLOCK);
  uint8_t kind = DISCOVER;
  struct lease offer = {0};
  int done = 0;
  for (int tries = 0; tries < TRIES && !done; tries++) {
    send_request(fd, kind, transaction, mac, &offer);
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    while (!done && poll(&ready, 1, WAIT_MS) > 0) {
      struct message message;
      struct lease answer;
      ssize_t size = recv(fd, &message, sizeof message, 0);
      int answered = size < 0 ? 0 : read_answer(&message, size, transaction, &answer);
      if (answered == OFFER && kind == DISCOVER) {
        offer = answer;
        kind = REQUEST;
        break;
      }
      done = answered == ACK && kind == REQUEST;
      if (done) *lease = answer;
    }
  }
  close(fd);
  if (!done) errno = ETIMEDOUT;
  return done;
}
