"""Emacs: one file of ours, and a marked block in the person's init file that loads it.

eglot and lsp-mode each have one function through which every server's command passes; advice on it wraps whatever
servers the person has configured.
"""

import os
from pathlib import Path

from lsp_proxy.editors.plan import Block, Plan, WholeFile, codetrial_command

__all__ = ["elisp", "plan"]

_ELISP = """\
;;; codetrial.el --- start language servers behind codetrial  -*- lexical-binding: t -*-
;; Written by `codetrial install emacs'; `codetrial uninstall emacs' removes it.

(defconst codetrial-command '(%(command)s)
  "What goes before a language server's command.")

(defun codetrial-wrap (command)
  "Put codetrial before COMMAND, unless it is there, COMMAND is no list of strings, or it runs on another machine."
  (if (and (consp command) (stringp (car command)) (not (equal (car command) (car codetrial-command)))
           (not (file-remote-p default-directory)))
      (append codetrial-command command)
    command))

(defun codetrial-unwrap (arguments)
  "Take codetrial off the command in ARGUMENTS."
  (let ((command (car arguments)))
    (if (and (consp command) (equal (car command) (car codetrial-command)))
        (cons (nthcdr (length codetrial-command) command) (cdr arguments))
      arguments)))

(with-eval-after-load 'eglot
  ;; The contact's program and arguments: in eglot 1.9 as in 1.17 they pass through here.
  (advice-add 'eglot--cmd :filter-return #'codetrial-wrap))

(with-eval-after-load 'lsp-mode
  ;; Two names of one function: until version 8, and since.
  (dolist (name '(lsp-resolve-final-function lsp-resolve-final-command))
    (when (fboundp name)
      (advice-add name :filter-return #'codetrial-wrap)))
  ;; Whether a server is installed is asked of its own program: ours is always there.
  (advice-add 'lsp-server-present? :filter-args #'codetrial-unwrap))

(provide 'codetrial)
;;; codetrial.el ends here
"""


def elisp() -> str:
    words = [*codetrial_command(), "lsp", "--"]
    return _ELISP % {"command": " ".join('"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"' for word in words)}


def init_file() -> Path:
    """The one that Emacs would read: the first that exists of its own list, or the newest kind."""
    home = Path.home()
    base = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    places = [home / ".emacs", home / ".emacs.el", home / ".emacs.d" / "init.el", base / "emacs" / "init.el"]
    return next((path for path in places if path.exists()), home / ".emacs.d" / "init.el")


def plan() -> Plan:
    init = init_file()
    own = (init.parent if init.name == "init.el" else Path.home() / ".emacs.d") / "codetrial.el"
    return Plan(
        editor="emacs",
        changes=(
            WholeFile(path=own, content=elisp()),
            Block(path=init, comment=";;", content=f'(load "{own.with_suffix("")}" t t)'),
        ),
        advice=("Suggestions appear in the completion list. Restart Emacs, or `M-x eglot-reconnect` after loading.",),
    )
