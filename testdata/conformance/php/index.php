<?php
// The function of the conformance suite: $event->do says what it does.

$ready = 'not ready';

function initializer($context)
{
    global $ready;
    $ready = $context->getUserData('ready');
}

function hook($context)
{
    echo "the hook says goodbye\n";
}

function context_seen($context)
{
    $left = $context->getRemainingTimeInMilliSeconds();
    return [
        'id' => $context->getRequestID(), 'left' => 0 < $left && $left <= 10000,
        'name' => $context->getFunctionName(), 'version' => $context->getVersion(),
        'package' => $context->getPackage(), 'project' => $context->getProjectID(),
        'memory' => (string) $context->getMemorySize(), 'cpu' => (string) $context->getCPUNumber(),
        'timeout' => (string) $context->getRunningTimeInSeconds(),
        'data' => $context->getUserData('from'), 'alias' => $context->getAlias(),
        'keys' => implode(' ', [
            $context->getSecurityAccessKey(), $context->getSecuritySecretKey(),
            $context->getSecurityToken(), $context->getToken(),
        ]),
    ];
}

function handler($event, $context)
{
    global $ready;
    if (isset($event->httpMethod)) {
        $event = json_decode(base64_decode($event->body));
    }
    $id = $context->getRequestID();
    switch ($event->do ?? null) {
        case null:
            return isset($event->pad) ? strlen(json_encode($event)) : ['event' => $event];
        case 'value':
            return $event->value;
        case 'text':
            return str_repeat('x', $event->n);
        case 'none':
            return;
        case 'odd':
            return ['bytes' => "\xff"];
        case 'raise':
            throw new InvalidArgumentException('no luck');
        case 'context':
            return context_seen($context);
        case 'log':
            $log = $context->getLogger();
            $log->debug('not shown');
            $log->info('i %d', 1);
            $log->warn('w');
            $log->error('e');
            return 'logged';
        case 'print':
            echo "out $id\n";
            error_log("err $id");
            return 'printed';
        case 'child':
            passthru("echo child $id");
            return 'done';
        case 'flood':
            for ($i = 0; $i < $event->n; $i++) {
                echo "line $i\n";
            }
            return 'flooded';
        case 'sleep':
            usleep($event->ms * 1000);
            echo "woke $id\n";
            return 'slept';
        case 'ready':
            return $ready;
        case 'loop':
            while (true) {
            }
        case 'exit':
            exit(7);
        case 'kill':
            posix_kill(getmypid(), 9);
            sleep(60);
    }
    throw new DomainException($event->do);
}
