#!/usr/bin/env bash
# GCC 12.2 (Debian 12) tells the optimiser that _tile_loadconfig reads 8 bytes: its asm has the operand
# "m" (*(const void **)config). The tile configuration has 64, so with -O2 the stores of its rows and columns are dropped.
# llama.cpp (ggml-cpu/amx/mmq.cpp, as in llama-cpp-python 0.3.36) is hit where it is built on a CPU with AMX: the first
# llama_decode with quantised weights ends the process by SIGILL, since no tile has rows. A build without AMX is right.
# Seen: the constant 77 is in the assembler without optimisation and missing with -O2. This needs no CPU with AMX.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat >"$folder/tiles.c" <<'C'
#include <immintrin.h>
#include <stdint.h>

typedef struct { uint8_t palette, start, reserved[14]; uint16_t columns[16]; uint8_t rows[16]; } tiles;

void load(void) {
    _Alignas(64) tiles made = {0};
    made.palette = 1;
    made.rows[0] = 77;
    _tile_loadconfig(&made);
}
C

stores() { # how often the constant stands in what is made with this optimisation
    gcc "$1" -mamx-tile -S "$folder/tiles.c" -o - | grep -c '\$77' || true
}

gcc --version | head -1
echo "stores of 77 at -O0: $(stores -O0); at -O2: $(stores -O2)"
[ "$(stores -O0)" = 1 ]
[ "$(stores -O2)" = 0 ]
