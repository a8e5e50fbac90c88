# fish completion for NAME, written by "NAME completion fish".
function __NAME_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    set -l value (string unescape -- $current; or printf '%s\n' $current)
    # The program in PATH comes first: the typed one may be another's of the same name. Nothing typed is evaluated.
    set -l program (command -s NAME; or printf '%s\n' $words[1])
    set -l lines ($program __complete $words[2..-1] "$value" 2>/dev/null)
    string match -qr '^:\d+$' -- $lines[-1]; or return
    set -l directive (string sub -s 2 -- $lines[-1])
    set -e lines[-1]
    set -l flag (string match -r -- '^-[^=]*=' $value)
    set value (string replace -r -- '^-[^=]*=' '' $value)
    set -l folders (math "floor($directive / 16) % 2")
    if test (count $lines) -gt 0 -a $folders = 0
        printf "$flag%s\n" $lines
    else if test $folders = 1
        printf "$flag%s\n" (__fish_complete_directories "$value" '')
    else if test (math "floor($directive / 4) % 2") = 0
        printf "$flag%s\n" (__fish_complete_path "$value" '')
    end
end
complete -c NAME -f -a '(__NAME_complete)'
