#compdef NAME
# zsh completion for NAME, written by "NAME completion zsh".
_NAME() {
  local line value directive
  local -a args lines found options
  args=("${(@Q)words[2,CURRENT]}")
  args[-1]=${(Q)PREFIX}
  # The program in PATH comes first: the typed one may be another's of the same name. Nothing typed is evaluated.
  lines=("${(@f)$("${commands[NAME]:-${(Q)words[1]}}" __complete "${args[@]}" 2>/dev/null)}")
  directive=${lines[-1]#:}
  [[ $directive == <-> ]] || return 1
  lines[-1]=()
  [[ $PREFIX == -*=* ]] && compset -P '*='
  for line in "${lines[@]}"; do
    [[ -n $line ]] || continue
    value=${line%%$'\t'*}
    if [[ $line == *$'\t'* ]]; then
      found+=("${value//:/\\:}:${line#*$'\t'}")
    else
      found+=("${value//:/\\:}")
    fi
  done
  (( directive & 2 )) && options=(-S '')
  if (( $#found && !(directive & 16) )) && _describe -t values NAME found "${options[@]}"; then
    return 0
  fi
  (( directive & 5 )) && return 1
  if (( directive & 16 )); then
    _files -/
  else
    _files
  fi
}
if [[ $funcstack[1] == _NAME ]]; then
  _NAME "$@"
else
  compdef _NAME NAME
fi
