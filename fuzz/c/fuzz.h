// SPDX-License-Identifier: Apache-2.0
//
// What the fuzz targets share: a check that aborts, copies of octets that end where their memory ends, a
// reader for inputs that have a structure, and an oracle for DER.

#ifndef FUZZ_H
#define FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pv_slice.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// REQUIRE is the word of an invariant: if it does not hold, the fuzzer has found a defect and keeps the
// input.
#define REQUIRE(condition)                                                           \
  do {                                                                               \
    if (!(condition)) {                                                              \
      fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition); \
      abort();                                                                       \
    }                                                                                \
  } while (0)

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

// copy is octets in memory of their own. The byte ahead of them is there because of the empty copy: the
// sanitizer gives a malloc of 0 one byte, and would not see it read.
struct copy {
  uint8_t *memory;
  pv_slice octets;
};

static inline struct copy zeros(size_t len) {
  struct copy copy = {.memory = calloc(len + 1, 1)};
  REQUIRE(copy.memory != NULL);
  copy.octets = pv_slice_of(copy.memory + 1, len);
  return copy;
}

static inline struct copy copy_of(pv_slice octets) {
  struct copy copy = zeros(octets.len);
  if (octets.len != 0) memcpy(copy.memory + 1, octets.data, octets.len);
  return copy;
}

static inline int same(pv_slice a, pv_slice b) { return a.data == b.data && a.len == b.len; }

static inline int equal(pv_slice a, pv_slice b) {
  return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

// An output that nobody has written to, of which a failure must leave everything.
static const uint8_t nothing[1];
static inline pv_slice untouched(void) { return pv_slice_of(nothing, 77); }

// octet takes the next octet of a structured input, or 0 where it has ended: every input means something.
static inline uint8_t octet(pv_slice *input) {
  if (input->len == 0) return 0;
  input->len--;
  return *input->data++;
}

static inline size_t below(pv_slice *input, size_t bound) { return octet(input) % bound; }

static inline uint64_t word(pv_slice *input) {
  uint64_t value = 0;
  for (int i = 0; i < 8; i++) value = value << 8 | octet(input);
  return value;
}

// some takes up to |len| octets.
static inline pv_slice some(pv_slice *input, size_t len) {
  if (len > input->len) len = input->len;
  pv_slice taken = pv_slice_of(input->data, len);
  *input = pv_slice_of(input->data + len, input->len - len);
  return taken;
}

// put_header writes the one header that DER has for |tag| and |contents| octets (X.690 8.1.2, 8.1.3, 10.1)
// and returns its length.
static inline size_t put_header(uint8_t tag, size_t contents, uint8_t out[4]) {
  size_t len = 0;
  out[len++] = tag;
  if (contents >= 0x80) out[len++] = contents < 0x100 ? 0x81 : 0x82;
  if (contents >= 0x100) out[len++] = (uint8_t)(contents >> 8);
  out[len++] = (uint8_t)contents;
  return len;
}

// leads_with returns 1 if |in| begins with an element of DER that has |contents| octets of contents; then
// |*out_header| is the length of its header.
static inline int leads_with(pv_slice in, size_t contents, size_t *out_header) {
  uint8_t header[4];
  if (in.len == 0 || (in.data[0] & 0x1f) == 0x1f) return 0;
  size_t len = put_header(in.data[0], contents, header);
  if (in.len < len || in.len - len < contents || memcmp(in.data, header, len) != 0) return 0;
  *out_header = len;
  return 1;
}

// find_element is the oracle for DER. It writes headers and compares where the reader under test reads: the
// element ahead has as many contents octets as one of three places of its header could say, or there is none.
static inline int find_element(pv_slice in, size_t *out_header, size_t *out_contents) {
  size_t said[3] = {0};
  if (in.len > 1) said[0] = in.data[1];
  if (in.len > 2) said[1] = in.data[2];
  if (in.len > 3) said[2] = (size_t)in.data[2] << 8 | in.data[3];
  for (size_t i = 0; i < COUNT(said); i++) {
    if (!leads_with(in, said[i], out_header)) continue;
    *out_contents = said[i];
    return 1;
  }
  return 0;
}

#endif  // FUZZ_H
