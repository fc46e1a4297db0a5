/* The fields of a request (docs/agent.md, "Fields"). The payload comes from the host whole. */
#include <stdlib.h>
#include <string.h>

#include "agent.h"

/* The field at `at`, which is moved behind it; 0 at the end. The request has been checked. */
int request_next(const struct request *request, size_t *at, struct field *field) {
  if (*at >= request->length) return 0;
  const uint8_t *head = request->payload + *at;
  field->tag = head[0] | head[1] << 8;
  field->length = get32(head + 4);
  field->bytes = head + FIELD_HEADER;
  *at += FIELD_HEADER + field->length;
  return 1;
}

/* Whether the fields fill the payload, each within it. */
int request_check(const struct request *request) {
  size_t at = 0;
  while (at < request->length) {
    if (request->length - at < FIELD_HEADER) return -1;
    const uint8_t *head = request->payload + at;
    if (head[2] != 0 || head[3] != 0) return -1;
    uint32_t length = get32(head + 4);
    if (length > request->length - at - FIELD_HEADER) return -1;
    at += FIELD_HEADER + length;
  }
  return 0;
}

int request_find(const struct request *request, uint16_t tag, struct field *field) {
  for (size_t at = 0; request_next(request, &at, field);)
    if (field->tag == tag) return 1;
  return 0;
}

char *request_text(const struct request *request, uint16_t tag) {
  struct field field;
  if (!request_find(request, tag, &field)) return NULL;
  if (memchr(field.bytes, 0, field.length) != NULL) return NULL;
  char *text = malloc(field.length + 1);
  if (text == NULL) return NULL;
  memcpy(text, field.bytes, field.length);
  text[field.length] = 0;
  return text;
}

/* A number of 4 or 8 bytes. */
uint64_t request_number(const struct request *request, uint16_t tag, uint64_t otherwise) {
  struct field field;
  if (!request_find(request, tag, &field)) return otherwise;
  if (field.length == 4) return get32(field.bytes);
  if (field.length != 8) return otherwise;
  return get32(field.bytes) | (uint64_t)get32(field.bytes + 4) << 32;
}
