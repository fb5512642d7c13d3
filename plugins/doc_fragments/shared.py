# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation that several modules share."""

from __future__ import annotations


class ModuleDocFragment:
    """The parts by name: ``greenlight.flask.shared.app`` and so on."""

    APP = r"""
options:
  app:
    description: Name of the app, its account, its unit and its directory.
    type: str
    required: true
"""

    RUN = r"""
options:
  run:
    description:
      - Id of the run that this step belongs to, as C(preflight) returns it.
      - The step runs only while that run holds the lock. Without this option it needs no lock.
    type: str
"""

    STAMP = r"""
options:
  environment:
    description:
      - Environment of this inventory. A host with another stamp is refused, and so is one that has lost its stamp.
    type: str
    required: true
"""

    LOCK = r"""
options:
  owner:
    description: The run that takes the lock. The action of the same name sets it. Without it, no lock is taken.
    type: dict
    suboptions:
      run:
        description: Id of the run.
        type: str
        required: true
      by:
        description: Who started the run.
        type: str
        required: true
      place:
        description: Machine, boot and process namespace, hashed.
        type: str
        required: true
      pid:
        description: Process id of the run.
        type: int
        required: true
      started:
        description: When that process started.
        type: str
        required: true
  instead_of:
    description: Id of a run known to be dead, whose lock is taken over.
    type: str
  stale_seconds:
    description: Seconds without progress after which a run counts as dead. Required with O(owner).
    type: float
"""

    PAGE = r"""
options:
  page:
    description: The page to request, and the site that it belongs to.
    type: dict
    required: true
    suboptions:
      host:
        description: The site's public name.
        type: str
        required: true
      path:
        description: Path of the health page, as the app knows it.
        type: str
        required: true
      other_path:
        description: Path of the page to request if C(path) answers 404 and the workers prove the environment and
          DEBUG. Empty means none.
        type: str
        required: true
      scheme:
        description: The scheme that visitors use.
        type: str
        choices:
        - http
        - https
        required: true
      prefix:
        description: Path of the site below which the app is served. Empty means all of it.
        type: str
        required: true
"""

    CONTRACT = r"""
options:
  contract:
    description: What a release must prove.
    type: dict
    required: true
    suboptions:
      environment:
        description: Name of the environment.
        type: str
        required: true
      debug:
        description: Value of DEBUG.
        type: bool
        required: true
      revision:
        description: Revision of the release.
        type: str
        required: true
      release:
        description: Id of the release.
        type: str
        required: true
      status:
        description: HTTP status of the health answer; 0 for any below 400.
        type: int
        required: true
      fields:
        description: Which key of the JSON answer has C(environment), C(debug), C(revision) and C(release). The answer
          must not contradict them. The workers must prove what has no key.
        type: dict
        required: true
      subset:
        description: Further JSON that the answer must contain; mappings are compared key by key, other values as
          a whole.
        type: dict
        required: true
"""

    QUESTION = r"""
options:
  question:
    description: What to check in the workers' reports, and which findings are accepted.
    type: dict
    required: true
    suboptions:
      ask:
        description: Whether to inspect the app at all.
        type: bool
        required: true
      environment_keys:
        description: Keys of C(app.config); the first that exists names the environment.
        type: list
        elements: str
        required: true
      secret_key_variable:
        description: Name of the environment variable whose value must be C(app.secret_key).
        type: str
        required: true
      command_elsewhere:
        description: Whether the release command ran on another host, so that both hosts must share the database.
        type: bool
        required: true
      accepted:
        description: Accepted findings, as C(id) or C(id:subject).
        type: list
        elements: str
        required: true
"""

    SITE = r"""
options:
  site:
    description: What Nginx serves, and with which certificate.
    type: dict
    required: true
    suboptions:
      files:
        description: Path below C(/etc/nginx) to content; a null content removes the file.
        type: dict
        required: true
      interim_files:
        description: Replace some of them until the certificate is issued.
        type: dict
        required: true
      inside:
        description: The app of this host whose site serves this one, with that app's names and certificate. Empty
          means that it has its own site.
        type: str
        required: true
      facts:
        description: Variables that apply to a whole site, by name. An app inside must have the same as the owner.
        type: dict
        required: true
      server_names:
        description: Names that no other site may have, and that the certificate must have.
        type: list
        elements: str
        required: true
      logs:
        description: Names of log files below C(/var/log/nginx), made so that others can't read them.
        type: list
        elements: str
        required: true
      main:
        description: Content of C(nginx.conf), which replaces Debian's own unless somebody has changed that. Empty
          means none.
        type: str
        required: true
      drop_in:
        description: Content of a drop-in of Nginx's unit. Empty means none.
        type: str
        required: true
      replace_stock_default_site:
        description: Whether to remove Debian's default site if it is enabled and unchanged.
        type: bool
        required: true
      tls:
        description: Where the certificate comes from.
        type: dict
        required: true
        suboptions:
          mode:
            description: No TLS, a self-signed certificate, the user's own, or one from an ACME server.
            type: str
            choices:
            - none
            - self_signed
            - provided
            - acme
            required: true
          port:
            description: TCP port on which it is served.
            type: int
            required: true
          directory:
            description: URL of the ACME server's directory.
            type: str
            required: true
          email:
            description: Contact address for the ACME server; empty for none.
            type: str
            required: true
"""

    PATIENCE = r"""
options:
  patience:
    description: How long and how often to probe.
    type: dict
    required: true
    suboptions:
      start_seconds:
        description: Seconds until the first answer.
        type: float
        required: true
      probe_seconds:
        description: Seconds for one answer.
        type: float
        required: true
      successes:
        description: How many probes must keep the contract, N.
        type: int
        required: true
      probes:
        description: Maximum number of probes, M.
        type: int
        required: true
      interval_seconds:
        description: Seconds between a good answer and the next probe. More than 0 also detects an app that dies soon
          after its start.
        type: float
        required: true
"""

    SPECIFICATION = r"""
options:
  specification:
    description: A release without its code.
    type: dict
    required: true
    suboptions:
      environment:
        description: Name of the environment.
        type: str
        required: true
      revision_variable:
        description: Name of the variable with the revision.
        type: str
        required: true
      release_variable:
        description: Name of the variable with the release's id.
        type: str
        required: true
      secret_names:
        description: Which of the variables are masked in messages.
        type: list
        elements: str
        required: true
      command:
        description: Shell commands to run once for the group before the release gets traffic; empty for none.
        type: str
        required: true
      reversible:
        description: Whether older code works with the changes of the command.
        type: bool
        required: true
      gunicorn:
        description: Text of gunicorn.conf.py, in which C(workers = 0) stands for the number that the host computes.
        type: str
        required: true
      workers:
        description: How the host computes that number.
        type: dict
        required: true
        suboptions:
          most:
            description: Maximum number of workers.
            type: int
            required: true
          memory_mb:
            description: Memory of one worker in MiB.
            type: int
            required: true
      processes:
        description: Name of each process to the texts of its parts.
        type: dict
        required: true
      credentials:
        description: Names of the variables that the process gets as systemd credentials instead.
        type: list
        elements: str
        required: true
"""

    DESIRED = r"""
options:
  desired:
    description: The state that a deploy makes; without it, nothing is compared.
    type: dict
    suboptions:
      source:
        description: The code.
        type: dict
        required: true
        suboptions:
          digest:
            description: Of a directory on the controller; empty for a source from git.
            type: str
            required: true
          git_url:
            description: Address of its repository.
            type: str
            required: true
          git_ref:
            description: Branch, tag or commit.
            type: str
            required: true
          git_key_file:
            description: A private key on the host for SSH, or empty.
            type: str
            required: true
          subdirectory:
            description: The part of the commit that is the source.
            type: str
            required: true
          static:
            description: Directories of the source that Nginx serves.
            type: list
            elements: str
            required: true
          revision:
            description: What the app reports as its revision; empty for the source's own.
            type: str
            required: true
      requirements:
        description: The lock's path in the source.
        type: str
        required: true
      choice:
        description: Which packages of the lock are installed.
        type: dict
        required: true
        suboptions:
          extras:
            description: Optional dependencies of the project, by C(uv.lock)'s names.
            type: list
            elements: str
            required: true
          groups:
            description: Dependency groups of the project; without a name here none is installed.
            type: list
            elements: str
            required: true
          package:
            description: The member of the workspace that is deployed; empty for the project next to the lock.
            type: str
            required: true
          project:
            description: Whether the project itself is installed.
            type: bool
            required: true
          installer:
            description: The program that installs it; not part of a venv's digest.
            type: str
            choices:
            - uv
            - pip
            required: true
      plan:
        description: The release without its code.
        type: dict
        required: true
        suboptions:
          environment:
            description: Name of the environment.
            type: str
            required: true
          revision_variable:
            description: Name of the variable with the revision.
            type: str
            required: true
          release_variable:
            description: Name of the variable with the release's id.
            type: str
            required: true
          secret_names:
            description: Which of the variables are masked in messages.
            type: list
            elements: str
            required: true
          command:
            description: Shell commands to run once for the group before the release gets traffic; empty for none.
            type: str
            required: true
          reversible:
            description: Whether older code works with the changes of the command.
            type: bool
            required: true
          gunicorn:
            description: Text of gunicorn.conf.py, in which C(workers = 0) stands for the number that the host computes.
            type: str
            required: true
          workers:
            description: How the host computes that number.
            type: dict
            required: true
            suboptions:
              most:
                description: Maximum number of workers.
                type: int
                required: true
              memory_mb:
                description: Memory of one worker in MiB.
                type: int
                required: true
          processes:
            description: Name of each process to the texts of its parts.
            type: dict
            required: true
          credentials:
            description: Names of the variables that the process gets as systemd credentials instead.
            type: list
            elements: str
            required: true
          variables:
            description: The process's environment, without revision and release.
            type: dict
            required: true
      contract:
        description: What the release must prove, without its id and revision.
        type: dict
        required: true
        suboptions:
          environment:
            description: Name of the environment.
            type: str
            required: true
          debug:
            description: Value of DEBUG.
            type: bool
            required: true
          revision:
            description: Revision of the release.
            type: str
            required: true
          release:
            description: Id of the release.
            type: str
            required: true
          status:
            description: HTTP status of the health answer; 0 for any below 400.
            type: int
            required: true
          fields:
            description: Which key of the JSON answer has C(environment), C(debug), C(revision) and C(release). The
              answer must not contradict them. The workers must prove what has no key.
            type: dict
            required: true
          subset:
            description: Further JSON that the answer must contain; mappings are compared key by key, other values
              as a whole.
            type: dict
            required: true
      page:
        description: The page that proves it.
        type: dict
        required: true
        suboptions:
          host:
            description: The site's public name.
            type: str
            required: true
          path:
            description: Path of the health page, as the app knows it.
            type: str
            required: true
          other_path:
            description: Path of the page to request if C(path) answers 404 and the workers prove the environment
              and DEBUG. Empty means none.
            type: str
            required: true
          scheme:
            description: The scheme that visitors use.
            type: str
            choices:
            - http
            - https
            required: true
          prefix:
            description: Path of the site below which the app is served. Empty means all of it.
            type: str
            required: true
      url:
        description: Where Nginx serves the site on this host.
        type: str
        required: true
      patience:
        description: How long and how often to probe.
        type: dict
        required: true
        suboptions:
          start_seconds:
            description: Seconds until the first answer.
            type: float
            required: true
          probe_seconds:
            description: Seconds for one answer.
            type: float
            required: true
          successes:
            description: How many probes must keep the contract, N.
            type: int
            required: true
          probes:
            description: Maximum number of probes, M.
            type: int
            required: true
          interval_seconds:
            description: Seconds between a good answer and the next probe. More than 0 also detects an app that dies
              soon after its start.
            type: float
            required: true
      bounds:
        description: How long stopping a release takes at most.
        type: dict
        required: true
        suboptions:
          stop_seconds:
            description: Seconds that systemd gives a release to finish its requests (TimeoutStopSec=).
            type: float
            required: true
          drain_seconds:
            description: Seconds that the queue of a retiring socket may take to empty.
            type: float
            required: true
      question:
        description: What the workers have to report.
        type: dict
        required: true
        suboptions:
          ask:
            description: Whether to inspect the app at all.
            type: bool
            required: true
          environment_keys:
            description: Keys of C(app.config); the first that exists names the environment.
            type: list
            elements: str
            required: true
          secret_key_variable:
            description: Name of the environment variable whose value must be C(app.secret_key).
            type: str
            required: true
          command_elsewhere:
            description: Whether the release command ran on another host, so that both hosts must share the database.
            type: bool
            required: true
          accepted:
            description: Accepted findings, as C(id) or C(id:subject).
            type: list
            elements: str
            required: true
"""

    BOUNDS = r"""
options:
  bounds:
    description: How long stopping a release may take.
    type: dict
    required: true
    suboptions:
      stop_seconds:
        description: Seconds that systemd gives a release to finish its requests (TimeoutStopSec=).
        type: float
        required: true
      drain_seconds:
        description: Seconds that the queue of a retiring socket may take to empty.
        type: float
        required: true
"""

    CHECK_MODE = r"""
attributes:
  check_mode:
    description: Can run in check mode and report what would change.
    support: full
"""
