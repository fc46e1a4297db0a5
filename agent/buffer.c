/* A queue of bytes that grows as it must; its owners bound it. */
#include <stdlib.h>
#include <string.h>

#include "agent.h"

int buffer_append(struct buffer *buffer, const void *bytes, size_t length) {
  if (buffer->end + length > buffer->capacity) {
    size_t held = buffer_length(buffer);
    if (held > 0) memmove(buffer->bytes, buffer->bytes + buffer->start, held);
    buffer->start = 0;
    buffer->end = held;
    if (held + length > buffer->capacity) {
      size_t capacity = buffer->capacity == 0 ? 4096 : buffer->capacity;
      while (capacity < held + length) capacity *= 2;
      uint8_t *grown = realloc(buffer->bytes, capacity);
      if (grown == NULL) return -1;
      buffer->bytes = grown;
      buffer->capacity = capacity;
    }
  }
  memcpy(buffer->bytes + buffer->end, bytes, length);
  buffer->end += length;
  return 0;
}

void buffer_take(struct buffer *buffer, size_t length) {
  buffer->start += length;
  if (buffer->start == buffer->end) buffer->start = buffer->end = 0;
}

void buffer_free(struct buffer *buffer) {
  free(buffer->bytes);
  memset(buffer, 0, sizeof *buffer);
}
