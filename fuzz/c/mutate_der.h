// SPDX-License-Identifier: Apache-2.0
//
// A mutator for libFuzzer that knows DER. One that changes octets alone leaves most certificates with lengths
// that no longer fit, and never gets past the outermost element. This one changes one element and puts the
// lengths around it right. What it makes is not in order either; it is wrong at one place only.

#ifndef MUTATE_DER_H
#define MUTATE_DER_H

#include "fuzz.h"

// Of libFuzzer: its own mutator, and the name under which it looks for ours.
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);

// chance draws a number below |bound|, by a linear congruence (Knuth, TAOCP 3.3.4): libFuzzer's seed makes
// each mutation one that can be done again.
static inline size_t chance(uint64_t *state, size_t bound) {
  *state = *state * 6364136223846793005U + 1442695040888963407U;
  return (size_t)(*state >> 33) % bound;
}

// place is an element within a run of elements: where it begins, and the octets of its two parts.
struct place {
  size_t at, header, contents;
};

// pick_element finds one of the elements that lie one behind the other at the front of |run|, each as likely
// as the others. It returns 0 if there is none.
static inline int pick_element(pv_slice run, uint64_t *state, struct place *out) {
  struct place here = {0};
  size_t found = 0;
  while (find_element(pv_slice_of(run.data + here.at, run.len - here.at), &here.header, &here.contents)) {
    if (chance(state, ++found) == 0) *out = here;
    here.at += here.header + here.contents;
  }
  return found != 0;
}

// put_long_header writes the header in a form that BER allows and DER does not, of one to six octets of
// length, or of none (X.690 8.1.3.5, 8.1.3.6), and returns its length.
static inline size_t put_long_header(uint8_t tag, size_t contents, uint64_t *state, uint8_t out[8]) {
  size_t octets = chance(state, 7), len = 0;
  out[len++] = tag;
  out[len++] = (uint8_t)(0x80 | octets);
  for (size_t i = octets; i > 0; i--) out[len++] = i > 4 ? 0 : (uint8_t)(contents >> (8 * (i - 1)));
  return len;
}

// splice puts |times| times |header| and |contents| where |place| is, and returns the new length of the run.
// If that were over |max|, the run stays as it is.
static inline size_t splice(uint8_t *run, size_t size, size_t max, struct place place, pv_slice header,
                            pv_slice contents, size_t times) {
  size_t end = place.at + place.header + place.contents, added = times * (header.len + contents.len);
  if (size - (end - place.at) + added > max) return size;
  memmove(run + place.at + added, run + end, size - end);
  for (uint8_t *to = run + place.at; times > 0; times--, to += header.len + contents.len) {
    if (header.len != 0) memcpy(to, header.data, header.len);
    if (contents.len != 0) memcpy(to + header.len, contents.data, contents.len);
  }
  return size - (end - place.at) + added;
}

// mutate_run changes one element of a run, or something within it. |run| has space for |max| octets, and the
// new length is returned.
static inline size_t mutate_run(uint8_t *run, size_t size, size_t max, uint64_t *state) {
  enum { REMOVE, CHANGE_WITH_HEADER, LONG_HEADER, TWICE, WITHIN = 16 };
  struct place place;
  uint8_t header[8];
  if (!pick_element(pv_slice_of(run, size), state, &place)) return LLVMFuzzerMutate(run, size, max);
  uint8_t tag = run[place.at];
  size_t action = chance(state, WITHIN), len = place.contents, header_len = 0;
  if (action == REMOVE) return splice(run, size, max, place, pv_slice_of(NULL, 0), pv_slice_of(NULL, 0), 0);
  // What is changed may grow by half of what is left, so that there is some for the levels above.
  size_t room = place.header + len + (max - size) / 2;
  uint8_t *changed = malloc(room);
  REQUIRE(changed != NULL);
  if (action == CHANGE_WITH_HEADER) {
    memcpy(changed, run + place.at, place.header + len);
    len = LLVMFuzzerMutate(changed, place.header + len, room);
  } else {
    memcpy(changed, run + place.at + place.header, len);
    if (action > TWICE) len = mutate_run(changed, len, room, state);
    header_len = action == LONG_HEADER || len > 0xffff ? put_long_header(tag, len, state, header)
                                                       : put_header(tag, len, header);
  }
  size = splice(run, size, max, place, pv_slice_of(header, header_len), pv_slice_of(changed, len),
                action == TWICE ? 2 : 1);
  free(changed);
  return size;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed) {
  uint64_t state = seed;
  if (size == 0 || chance(&state, 8) == 0) return LLVMFuzzerMutate(data, size, max_size);
  return mutate_run(data, size, max_size, &state);
}

#endif  // MUTATE_DER_H
