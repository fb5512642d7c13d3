# SPDX-License-Identifier: GPL-3.0-or-later
#
# The layers of the tests, for GNU make; script/test calls it. Each is a name that can be typed alone: script/test unit.
# script/layer records a layer's output and result.

export PATH := $(CURDIR)/.venv/bin:$(CURDIR)/script/podman:$(PATH)

lint := ansible-lint mypy shellcheck ruff yamllint codespell
# The long ones first, so that none runs alone at the end.
fast := unit ansible-lint repository tools templates mypy example shellcheck ruff yamllint codespell
# Also without servers, but too slow to wait for while editing: the tests that are marked slow.
long := docs cases commands
scenarios := default faults secrets edge
servers := $(scenarios:%=servers-%)

.PHONY: $(fast) $(long) $(servers) $(scenarios)

# The linter loads every playbook, but decrypts nothing.
ansible-lint: export ANSIBLE_VAULT_IDENTITY_LIST := test@molecule/shared/unused-vault-password
ansible-lint:
	@script/layer $@ ansible-lint --nocolor

mypy:
	@script/layer $@ mypy

ruff:
	@script/layer $@ sh -c 'ruff check && ruff format --check'

yamllint:
	@script/layer $@ yamllint --strict .

codespell:
	@script/layer $@ codespell

# Shell scripts by their first line, and what they source.
shellcheck:
	@script/layer $@ bash -o pipefail -c "git grep -zlIE --untracked '^#!.*[ /](ba|da)?sh$$' -- ':!*.md' ':!*.py' \
	  | xargs -0 shellcheck --external-sources --enable=quote-safe-variables script/lib.sh"

# Thousands of small files: kept in memory if it has a gigabyte to spare and allows programs.
in_memory := $(shell findmnt --noheadings --bytes --output AVAIL,OPTIONS /dev/shm 2>/dev/null \
  | awk '$$1 > 2^30 && $$2 !~ /noexec/ { print "/dev/shm"; exit }')
ifneq ($(in_memory),)
unit templates cases: export TMPDIR := $(in_memory)
endif

unit templates tools repository:
	@script/layer $@ pytest --quiet tests/$@ -m 'not slow'

# Tests that try one thing in very many ways.
cases:
	@script/layer $@ pytest --quiet tests/unit tests/templates -m slow

# The site, with every link between its pages.
docs:
	@script/layer $@ script/docs

# Ansible and the scripts as typed, in whole copies of the repository.
commands:
	@script/layer $@ pytest --quiet tests/repository -m slow

# The example app's tests, with its packages. Not from the root, whose pytest settings don't apply to the app.
example:
	@script/layer $@ sh -c 'cd examples/guestbook && ../../build/guestbook-venv/bin/python -m pytest --quiet -p no:cacheprovider'

# Whole deploys to throwaway servers with a real systemd, separate servers for each scenario. script/test makes them
# all before the first scenario's tests begin, so that packages are downloaded only at the start.
molecule = molecule $1 --scenario-name $2 --no-command-borders
destroy = { test -n "$(KEEP)" || $(call molecule,destroy,$1); }
make-servers = $(call molecule,destroy,$1) && GREENLIGHT_VERIFY=false $(call molecule,test --destroy never,$1)

# The servers of the scenario default start as bare Debian. Those of the others start from the result of its first
# deploy, if both were requested. If this deploy failed, the other scenarios run all the same.
deployed := localhost/greenlight-test-deployed
commit = $(foreach server,debian12 debian13,&& podman commit --quiet greenlight-test-default-$(server) $(deployed):$(server))
others := $(filter-out servers-default,$(servers))

servers-default:
	-@script/layer $@ sh -c '$(call make-servers,default) $(commit) || { $(call destroy,default); exit 1; }'

ifneq ($(filter servers-default,$(MAKECMDGOALS)),)
$(others): servers-default
$(others): begin = podman image exists $(deployed):debian13 && export GREENLIGHT_DEPLOYED=$(deployed);
endif

$(others): servers-%:
	@script/layer $@ sh -c '$(begin) $(call make-servers,$*) || { $(call destroy,$*); exit 1; }'

$(scenarios):
	@script/layer $@ sh -c 'GREENLIGHT_VERIFY=true $(call molecule,verify,$@); result=$$?; $(call destroy,$@); exit $$result'
