<?php

function initializer($context)
{
    $context->getLogger()->info('initialized');
}

function handler($event, $context)
{
    $name = $event->name ?? 'world';
    $context->getLogger()->info('name is %s', $name);
    echo "printed\n";
    error_log('an error line');
    return ['statusCode' => 200, 'body' => "Hello, $name"];
}
