# SPDX-License-Identifier: GPL-3.0-or-later
#
# The layers of the tests, for GNU make; script/test calls it. Each is a name that can be typed alone: script/test unit.
# script/layer keeps a layer's output and how it ended.

export PATH := $(CURDIR)/.venv/bin:$(CURDIR)/script/podman:$(PATH)

lint := ansible-lint mypy shellcheck ruff yamllint
# The long ones first, so that none is left alone at the end.
fast := unit ansible-lint repository templates mypy example shellcheck ruff yamllint
scenarios := default secrets edge faults
servers := $(scenarios:%=servers-%)

.PHONY: $(fast) commands $(servers) $(scenarios)

# The linter loads every playbook, and nothing in them is decrypted.
ansible-lint: export ANSIBLE_VAULT_IDENTITY_LIST := test@molecule/shared/unused-vault-password
ansible-lint:
	@script/layer $@ ansible-lint --nocolor

mypy:
	@script/layer $@ mypy

ruff:
	@script/layer $@ sh -c 'ruff check && ruff format --check'

yamllint:
	@script/layer $@ yamllint --strict .

# Shell scripts by their first line, and what they source.
shellcheck:
	@script/layer $@ sh -c "git grep -lIE --untracked '^#!.*[ /](ba|da)?sh$$' -- ':!*.md' ':!*.py' \
	  | xargs shellcheck --external-sources --enable=quote-safe-variables script/lib.sh"

unit templates:
	@script/layer $@ pytest --quiet tests/$@

repository:
	@script/layer $@ pytest --quiet tests/repository -m 'not slow'

# Ansible and the scripts as typed, in whole copies of the repository.
commands:
	@script/layer $@ pytest --quiet tests/repository -m slow

# The example app's own tests, with its own packages. Not from the root, whose settings are not the app's.
example:
	@script/layer $@ sh -c 'cd examples/guestbook && ../../build/guestbook-venv/bin/python -m pytest --quiet -p no:cacheprovider'

# Whole deploys to throwaway servers with a real systemd. Each scenario has servers of its own, which are made and first
# deployed to before any scenario's tests begin: that is when packages come from outside.
molecule = molecule $1 --scenario-name $2 --no-command-borders
first = $(call molecule,destroy,$1) && GREENLIGHT_VERIFY=false $(call molecule,test --destroy never,$1)

# The servers of the scenario default begin as bare Debian. What their first deploy left is where those of the others
# begin, if both are wanted. Its failure keeps no other scenario from its tests.
deployed := localhost/greenlight-test-deployed
keep = $(foreach server,debian12 debian13,&& podman commit --quiet greenlight-test-default-$(server) $(deployed):$(server))
others := $(filter-out servers-default,$(servers))

servers-default:
	-@script/layer $@ sh -c '$(call first,default) $(keep)'

ifneq ($(filter servers-default,$(MAKECMDGOALS)),)
$(others): servers-default
endif

$(others): servers-%:
	@script/layer $@ sh -c 'if podman image exists $(deployed):debian13; then export GREENLIGHT_DEPLOYED=$(deployed); fi; \
	  $(call first,$*)'

$(scenarios): %: servers-%
	@script/layer $@ sh -c '$(call molecule,verify,$*); result=$$?; \
	  test -n "$(KEEP)" || $(call molecule,destroy,$*); exit $$result'
