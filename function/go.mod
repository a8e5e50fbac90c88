module gantry/function

go 1.26.0
