# SPDX-License-Identifier: BSD-3-Clause
# A thin front for meson and ninja: the program ends up as build/twinax.
.POSIX:
.PHONY: all check bench demo install clean

all: build/build.ninja
	@ninja -C build

build/build.ninja:
	@meson setup build

check:
	@./check

bench: all
	@bench/run.sh
	@bench/user.sh
	@bench/libslirp.sh
	@bench/micro.sh
	@bench/lab.sh

demo:
	@./demo

install: all
	@meson install -C build

clean:
	rm -rf build
